"""The formats that are read and written, and rows of them with what they say."""

from __future__ import annotations

from typing import Any

from storage.formats import alpaca, hh_rlhf, openai_preference, sharegpt, trl_preference, trl_sft, trl_unpaired
from storage.formats.turn import Turn, demonstration, pair, thumb

FORMATS = {
    "trl-preference": trl_preference,
    "trl-unpaired": trl_unpaired,
    "trl-sft": trl_sft,
    "openai-preference": openai_preference,
    "hh-rlhf": hh_rlhf,
    "sharegpt": sharegpt,
    "alpaca": alpaca,
}
#: these can say any conversation; the others want user and assistant in turn
ANY_ORDER = (trl_preference, trl_unpaired, trl_sft, openai_preference)
WITH_HONE = (trl_preference, trl_unpaired, trl_sft, sharegpt, alpaca)

SYSTEM = {"role": "system", "content": "Be brief."}
HI = {"role": "user", "content": "Hi."}
HELLO = {"role": "assistant", "content": "Hello!"}
WHY = {"role": "user", "content": "Why is the sky blue?"}
LIGHT = {"role": "assistant", "content": "Blue light scatters more."}
NO_IDEA = {"role": "assistant", "content": "No idea."}
BETTER, WORSE = LIGHT["content"], NO_IDEA["content"]
CHAT = [HI, HELLO, WHY]

HUMAN = {"from": "human", "value": "Why is the sky blue?"}
GPT = {"from": "gpt", "value": BETTER}
GPT_WORSE = {"from": "gpt", "value": WORSE}
HH = "\n\nHuman: Hi.\n\nAssistant: Hello!\n\nHuman: Why is the sky blue?\n\nAssistant: "
QUESTION = {"instruction": "Why is the sky blue?", "input": ""}

A_PAIR = pair([WHY], BETTER, WORSE)
JOINED = {"role": "user", "content": "Why is\nit so?"}
AFTER_CHAT = pair(CHAT, BETTER, WORSE)
WITH_SYSTEM = pair([SYSTEM, WHY], BETTER, WORSE)

READ: list[tuple[str, dict[str, Any], Turn]] = [
    ("trl-preference", {"prompt": CHAT, "chosen": [LIGHT], "rejected": [NO_IDEA]}, AFTER_CHAT),
    ("trl-preference", {"prompt": WHY["content"], "chosen": BETTER, "rejected": WORSE}, A_PAIR),
    ("trl-preference", {"chosen": [*CHAT, LIGHT], "rejected": [*CHAT, NO_IDEA]}, AFTER_CHAT),
    ("trl-preference", {"prompt": WHY["content"], "chosen": [*CHAT, LIGHT], "rejected": [*CHAT, NO_IDEA]}, AFTER_CHAT),
    ("trl-preference", {"prompt": [WHY], "chosen": LIGHT, "rejected": NO_IDEA, "margin": None}, A_PAIR),
    (
        "trl-preference",
        {"prompt": [WHY], "chosen": [LIGHT], "rejected": [NO_IDEA], "margin": 0.25},
        pair([WHY], BETTER, WORSE, 0.25),
    ),
    (
        "trl-preference",
        {"prompt": [WHY], "chosen": [LIGHT], "rejected": [NO_IDEA], "margin": 7},
        pair([WHY], BETTER, WORSE, 1.0),
    ),
    (
        "trl-preference",
        {
            "prompt": [{"role": "developer", "content": "Be brief."}, WHY],
            "chosen": [{"role": "assistant", "content": [{"type": "text", "text": BETTER}]}],
            "rejected": [NO_IDEA],
        },
        WITH_SYSTEM,
    ),
    ("trl-unpaired", {"prompt": CHAT, "completion": [LIGHT], "label": True}, thumb(CHAT, BETTER, True)),
    ("trl-unpaired", {"prompt": WHY["content"], "completion": WORSE, "label": 0}, thumb([WHY], WORSE, False)),
    ("trl-sft", {"messages": [*CHAT, LIGHT]}, demonstration(CHAT, BETTER)),
    ("trl-sft", {"prompt": CHAT, "completion": [LIGHT]}, demonstration(CHAT, BETTER)),
    ("trl-sft", {"prompt": WHY["content"], "completion": BETTER}, demonstration([WHY], BETTER)),
    (
        "openai-preference",
        {
            "input": {"messages": CHAT, "tools": [], "parallel_tool_calls": True},
            "preferred_output": [LIGHT],
            "non_preferred_output": [NO_IDEA],
        },
        AFTER_CHAT,
    ),
    (
        "openai-preference",
        {"input": {"messages": [SYSTEM, WHY]}, "preferred_output": [LIGHT], "non_preferred_output": [NO_IDEA]},
        WITH_SYSTEM,
    ),
    ("hh-rlhf", {"chosen": HH + BETTER, "rejected": HH + WORSE}, AFTER_CHAT),
    ("hh-rlhf", {"chosen": HH[2:] + BETTER, "rejected": HH[2:] + WORSE}, AFTER_CHAT),
    (
        "hh-rlhf",
        {
            "chosen": f"Be brief.\n\nHuman: {WHY['content']}\n\nAssistant: {BETTER}",
            "rejected": f"Be brief.\n\nHuman: {WHY['content']}\n\nAssistant:{WORSE}",
        },
        WITH_SYSTEM,
    ),
    ("sharegpt", {"conversations": [HUMAN], "chosen": GPT, "rejected": GPT_WORSE}, A_PAIR),
    ("sharegpt", {"conversations": [HUMAN], "system": "Be brief.", "chosen": GPT, "rejected": GPT_WORSE}, WITH_SYSTEM),
    (
        "sharegpt",
        {"conversations": [{"from": "system", "value": "Be brief."}, HUMAN], "chosen": BETTER, "rejected": NO_IDEA},
        WITH_SYSTEM,
    ),
    ("sharegpt", {"conversations": [HUMAN, GPT_WORSE], "kto_tag": False}, thumb([WHY], WORSE, False)),
    ("sharegpt", {"messages": [*CHAT, LIGHT], "label": True}, thumb(CHAT, BETTER, True)),
    (
        "sharegpt",
        {"conversations": [HUMAN, {"from": "bing", "value": BETTER}], "chosen": None, "kto_tag": None},
        demonstration([WHY], BETTER),
    ),
    ("alpaca", {**QUESTION, "chosen": BETTER, "rejected": WORSE}, A_PAIR),
    ("alpaca", {**QUESTION, "output": BETTER, "system": "", "history": None}, demonstration([WHY], BETTER)),
    ("alpaca", {"instruction": "Why is", "input": "it so?", "output": "."}, demonstration([JOINED], ".")),
    (
        "alpaca",
        {**QUESTION, "system": "Be brief.", "history": [["Hi.", "Hello!"]], "output": WORSE, "kto_tag": False},
        thumb([SYSTEM, *CHAT], WORSE, False),
    ),
]

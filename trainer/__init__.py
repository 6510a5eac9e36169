"""Learning from judgments: turns rows of the store into a LoRA adapter that has proved itself.

Imports storage and chatapp.engine; never Textual. Importing this package sets the environment that
OpenMP reads when torch is first imported: a thread that waits must sleep, not spin, or the chat's
engine loses its cores (10 % of its speed is left; with this and nice 19 all of it).
"""

import os

#: For torch alone: llama.cpp waits at hundreds of barriers a token, and is slower by half when its threads sleep there.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}

for _name, _value in PASSIVE.items():
    os.environ.setdefault(_name, _value)
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")
# transformers and peft look for TensorFlow and JAX at import; none is used here.
os.environ.setdefault("USE_TF", "0")
os.environ.setdefault("USE_FLAX", "0")

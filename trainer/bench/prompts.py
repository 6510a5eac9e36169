"""Eighty-eight everyday requests of our own for the measurements; none needs a long or exact answer."""

PROMPTS = tuple(
    line
    for line in """
How does a microwave oven heat food?
Why do leaves change colour in autumn?
What makes bread rise?
How do airplanes stay in the air?
Why is the ocean salty?
What happens when you catch a cold?
How do bees make honey?
Why do we dream?
What is inflation in simple words?
How does a refrigerator keep food cold?
Explain how rainbows form.
What is the purpose of a budget?
How do magnets work?
Why do cats purr?
What does a heart do?
Explain the water cycle.
Why do we have seasons?
How does a camera take a picture?
What is photosynthesis?
How do vaccines protect people?
Why is sleep important?
What causes thunder and lightning?
How does a bank earn money?
Explain what gravity is.
What is the difference between a lake and a pond?
How do plants drink water?
Why does metal feel colder than wood?
What is a black hole?
How do you plant a tomato?
Explain what an ecosystem is.
Give me some tips for a job interview.
How can I remember names better?
Suggest a simple dinner for two.
How do I start running as a beginner?
What should I look for when I buy a used bicycle?
Give me advice on saving money each month.
How can I make my mornings less stressful?
What is a good way to learn a new language?
How do I keep houseplants alive?
Suggest some ideas for a rainy weekend.
How do I write a thank-you note?
What are good habits for healthy teeth?
How can I get better at public speaking?
Give me tips for packing a suitcase.
How should I prepare for a long car trip?
What can I cook with eggs and potatoes?
How do I make friends in a new town?
Give me some ideas for a child's birthday party.
How can I read more books this year?
What should I do when I feel bored at work?
How do I clean a wooden table?
Suggest a small gift for a teacher.
How can I save water at home?
What is a good exercise for the back?
How do I calm down before an exam?
Give me tips for taking better photos.
How do I choose a good melon?
What should I know before I adopt a dog?
How can I drink less coffee?
Give me some advice on sharing a flat.
Write a short story about a lost key.
Describe a walk in the forest.
Write a few sentences about the sea.
Tell me about a day in the life of a baker.
Describe your ideal holiday.
Write a short note to a neighbour about noise.
Tell me a story about a clever fox.
Describe a busy market.
Write a short speech for a friend's wedding.
Describe the taste of an apple to someone who never had one.
Write a letter to your future self.
Tell me about winter in the mountains.
Describe an old house at the end of a street.
Write a short review of a restaurant.
Tell me why music matters to people.
Describe how a city wakes up in the morning.
Write a few lines about friendship.
Tell me about the moon.
Describe a storm at night.
Write a message that invites friends to a picnic.
Who was Marie Curie?
What is the capital of Japan known for?
Tell me about the pyramids of Egypt.
What do elephants eat and how do they live?
Why did people build castles?
How did people tell the time before clocks?
What is jazz?
How was paper invented?
""".splitlines()
    if line
)

"""Prompts that several benchmarks are put in: Jinja, as `mmrl.recipe.prompt_templates` renders it.

Variables: `question`, `options` (letter -> text; empty where the question holds them), the row's columns, and `row`,
all of these.
"""

OPTIONS = "{% for letter, text in options.items() %}{{ letter }}. {{ text }}\n{% endfor %}"
BRACKETED = "{% for letter, text in options.items() %}({{ letter }}) {{ text }}\n{% endfor %}"
LETTER = "Answer with the option's letter from the given choices directly."
PHRASE = "Answer the question using a single word or phrase."

CHOICE = "{{ question }}\n" + OPTIONS + LETTER
SHORT = "{{ question }}\n" + PHRASE
BARE = "{{ question }}"
# A choice where there are options, else a short answer.
EITHER = "{{ question }}\n{% if options %}" + OPTIONS + LETTER + "{% else %}" + PHRASE + "{% endif %}"
BEST_ANSWER = (
    "Select the best answer to the following multiple-choice question based on the video.\n"
    "Respond with only the letter (A, B, C, or D) of the correct option.\n"
    "Question: {{ question }}\n" + OPTIONS + "The best answer is: "
)

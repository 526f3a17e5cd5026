"""Honest ways to dress a right answer, and right answers of every reward that reads a short one."""

from __future__ import annotations

WRAPPINGS = (
    *("{}", "{}.", " {} \n", "**{}**", "**{}**.", "**{}.**", "*{}*", "__{}__", "`{}`", '"{}"', "'{}'", "“{}”", "{}。"),
    *(
        "$\\boxed{{{}}}$",
        "\\boxed{{{}}}",
        "\\boxed{{\\text{{{}}}}}",
        "\\[\\boxed{{{}}}\\]",
        "\\text{{{}}}",
        "$\\text{{{}}}$",
    ),
    *("```\n{}\n```", "```json\n{}\n```", "```text\n{}\n```"),
    *(
        "Answer: {}",
        "answer: {}",
        "**Answer:** {}",
        "**Answer**: {}",
        "**Answer: {}**",
        "Answer:\n{}",
        "Ans: {}",
        "### Answer\n{}",
    ),
    *(
        "Final answer: {}",
        "Final Answer: **{}**",
        "### Final Answer\n\n**{}**",
        "**Final Answer**\n{}",
        "## Answer: {}",
    ),
    *("The answer is {}", "The answer is {}.", "The answer is: {}", "The answer is **{}**.", "The answer is: **{}**"),
    *("The correct answer is {}.", "The final answer is {}.", "The right answer is {}", "The best answer is {}."),
    *("The final answer is $\\boxed{{{}}}$.", "The answer is $\\boxed{{{}}}$.", "Final Answer: $\\boxed{{{}}}$"),
    *(
        "So the answer is {}.",
        "So, the answer is {}.",
        "Therefore, the answer is {}.",
        "Thus, the answer is {}.",
        "Hence the answer is {}.",
    ),
    *(
        "Thus, the correct answer is **{}**.",
        "Therefore, the final answer is \\boxed{{{}}}.",
        "In conclusion, the answer is {}.",
    ),
    *(
        "My answer is {}.",
        "My answer: {}",
        "My final answer is {}",
        "I think the answer is {}.",
        "I believe the correct answer is {}.",
    ),
    *("Sure! The answer is {}.", "Certainly! The answer is **{}**.", "OK, the answer is {}."),
    *(
        "Based on the image, the answer is {}.",
        "According to the video, the answer is {}.",
        "From the chart, the answer is {}.",
    ),
    *("Looking at the picture, the correct answer is {}.", "Based on the information provided, the answer is {}."),
    *("It is {}.", "It's {}.", "So it is {}."),
    *("答案：{}", "答案是{}。", "答案是 {}", "正确答案是{}。", "所以答案是{}。", "因此，答案为{}。", "最终答案：{}"),
    *(
        "<answer>{}</answer>",
        "<answer> {} </answer>",
        "<answer>**{}**</answer>",
        "<answer>The answer is {}.</answer>",
        "<answer>{}.</answer>",
    ),
    *(
        "<answer>\\boxed{{{}}}</answer>",
        "<answer>$\\boxed{{{}}}$</answer>",
        "<answer>Answer: {}</answer>",
        "<answer>```\n{}\n```</answer>",
    ),
    *(
        "<think>Let me look.</think>{}",
        "<think>Let me look.</think>\n\n\\boxed{{{}}}",
        "<think>Let me look.</think>\n\nThe answer is {}.",
    ),
    *(
        "<thought>Let me look.</thought>{}",
        "<thinking>Let me look.</thinking>\n<answer>{}</answer>",
        "[THINK]I look.[/THINK]{}",
    ),
    *(
        "<think>Let me look.</think>\n<answer>{}</answer>",
        "Let me look.</think>\n<answer>{}</answer>",
        "{}<|im_end|>",
        "{}</s>",
    ),
    *('{{"answer": "{}"}}', "Let me look closely. <answer>{}</answer>", "I look at it.\n\n\\boxed{{{}}}"),
)

# (reward, parameters, target, right answers)
RIGHT = (
    (
        "multiple_choice",
        {},
        {"answer": "B", "options": ["a cat", "a dog", "a bird"]},
        ("B", "(B)", "B. a dog", "(B) a dog", "B) a dog"),
    ),
    ("multiple_choice", {}, {"answer": "C"}, ("C", "(C)", "c")),
    ("multiple_choice", {}, {"answer": ["A", "C"], "options": list("wxyz")}, ("A, C", "AC", "A and C", "C, A")),
    ("yes_no", {}, {"answer": "yes"}, ("Yes", "yes", "True")),
    ("yes_no", {}, {"answer": False}, ("No", "false")),
    ("video_qa", {}, {"answer": "B", "options": ["runs", "jumps"]}, ("B", "B. jumps")),
    ("video_qa", {}, {"answer": "3"}, ("3", "three")),
    ("video_qa", {}, {"answer": True}, ("yes",)),
    ("counting", {}, {"count": 3}, ("3", "three", "3 cats")),
    ("counting", {}, {"count": 27}, ("27", "twenty-seven")),
    ("numeric", {}, {"answer": 5.5, "unit": ["m", "meters"]}, ("5.5 m", "5.5", "5.5m", "5.5 meters")),
    ("numeric", {}, {"answer": -5}, ("-5", "−5", "minus 5")),
    ("numeric", {}, {"answer": 1234.5}, ("1234.5", "1,234.5")),
    ("numeric", {}, {"answer": 0.5}, ("0.5", "1/2", ".5")),
    ("regression", {}, {"answer": 2.5}, ("2.5", "2.5 m", "2.5m")),
    ("chart", {}, {"answer": "Red line"}, ("Red line", "red line")),
    ("chart", {}, {"answer": "45%"}, ("45%", "45", "45.0")),
    ("chart", {}, {"answer": "Yes"}, ("Yes",)),
    (
        "classification",
        {},
        {"answer": "golden retriever"},
        ("golden retriever", "Golden Retriever", "a golden retriever"),
    ),
    ("classification", {}, {"answer": ["cat", "dog"]}, ("cat, dog", "cat and dog")),
    ("ordering", {}, {"order": [3, 1, 2]}, ("[3, 1, 2]", "3, 1, 2", "3 -> 1 -> 2", "3 1 2")),
    ("ordering", {}, {"order": ["B", "A", "C"]}, ("B, A, C", "BAC", "B-A-C")),
    ("vqa", {}, {"answers": ["red"] * 10}, ("red", "Red")),
    ("vqa", {}, {"answers": ["yes"] * 10}, ("yes",)),
    ("vqa", {}, {"answers": ["12:30"] * 10}, ("12:30",)),
    ("majority", {}, {"majority": "3"}, ("3", "three", "3.0")),
    ("majority", {}, {"majority": "0.5"}, ("0.5", "1/2", "\\frac{1}{2}")),
    ("math", {}, {"answer": "12"}, ("12", "$12$", "12.0", "x = 12")),
    ("math", {}, {"answer": "\\frac{3}{4}"}, ("\\frac{3}{4}", "3/4", "0.75")),
    ("math", {}, {"answer": "2\\sqrt{3}"}, ("2\\sqrt{3}", "2√3")),
    ("timestamp", {}, {"timestamp": 72.5}, ("01:12.5", "72.5", "72.5 s", "1 min 12.5 s")),
    ("temporal_iou", {}, {"interval": [10, 20]}, ("10.0 to 20.0 seconds", "[10, 20]", "00:10 - 00:20", "10s-20s")),
    ("iou", {}, {"box": [12, 18, 108, 224]}, ("[12, 18, 108, 224]", "(12, 18), (108, 224)", "12, 18, 108, 224")),
    ("point_in_box", {}, {"box": [100, 40, 180, 60]}, ("[140, 50]", "(140, 50)", "140, 50")),
)


# Wrappings that say something else than the answer for some kinds: JSON of a text with quotes, TeX text of TeX.
def fits(wrapping: str, answer: str) -> bool:
    """Whether an answer stands in a wrapping as a writer would put it there."""
    if "\\" in answer or "$" in answer:
        return "\\text" not in wrapping and '"answer"' not in wrapping and "$" not in wrapping and "'" not in wrapping
    return not ('"' in answer and '"' in wrapping)

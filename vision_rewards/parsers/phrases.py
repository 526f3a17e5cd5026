"""How a sentence leads up to its answer: "So the answer is", "Final answer:", "I choose", "It is", "答案是"."""

from __future__ import annotations

import re
from itertools import islice

MAX_PROSE = 20_000  # characters of an answer that are searched for the statement of one
_ADJECTIVES = (
    r"(?:(?:(?:very |single )?(?:best|correct|right|final|true|actual|exact|only|overall|numerical|short|chosen|"
    r"selected|predicted|estimated|resulting|appropriate|suitable|accurate)|most (?:likely|probable|appropriate|"
    r"suitable|accurate|fitting|plausible|reasonable))(?: and)? ){0,3}"
)
_NOUNS = (
    r"(?:answers?|ans|options?|choices?|solution|result|response|conclusion|verdict|prediction|selection|"
    r"transcription|pick)"
)
_ABOUT = (
    r"(?: (?:to|for|of) (?:this|the|your) (?:[a-z]{1,12} )?(?:question|problem|puzzle|task|query)| (?:choice|letter))?"
)
_IS = (
    r"(?:(?: here| then| now)? (?:is|are|was|must be|should be|would be|will be)\b"
    r"(?: therefore\b,?| thus\b,?| then\b,?| clearly| definitely| likely| most likely| indeed)? ?[:：]?"
    r"|[*_` ]{0,4}[:：=]|[*_` ]{0,4} [-–—] )"
)
_SIGHTS = (
    r"(?:images?|pictures?|photos?|photographs?|videos?|clips?|footage|frames?|figures?|diagrams?|graphs?|charts?|plots?|"
    r"tables?|maps?|drawings?|screenshots?|scenes?|texts?|context|passage|documents?|options|choices|information|"
    r"descriptions?|evidence|analysis|details|data|visuals?|questions?|calculations?|observations?|reasoning|content)"
)
_LINKS = (
    r"(?:(?:and|so|thus|hence|therefore|then|consequently|accordingly|finally|overall|ultimately|clearly|definitely|"
    r"in (?:conclusion|summary|short|total|the end)|to (?:conclude|sum up|summarize|answer (?:this|the|your) question)|"
    r"as a result|from this|for this reason|from the above)\b ?[,:]?(?= |\Z)"
    r"|(?:sure(?: thing)?|ok(?:ay)?|certainly|of course|alright|great|absolutely|hello|well) ?[!,.:](?= |\Z)"
    r"|(?:based on|according to|judging (?:by|from)|looking at|by looking at|from|in|given|considering|"
    r"after (?:looking at|analyzing|examining|watching)|as (?:shown|seen|depicted|illustrated|indicated) (?:in|by|on))"
    rf" (?:the|this|these|my|your)(?: [a-z]{{1,12}}){{0,2}} {_SIGHTS}(?: above| below| provided| shown| given)? ?,"
    r"|(?:所以|因此|故|综上所述|综上|因而|那么|根据(?:图片|视频|图像|图表|图中信息))[,，:：]?)"
)
_CLAIMS = (
    r"(?:(?:i|we) (?:think|believe|would say|see|find|get|know|have|obtain|conclude|can (?:see|conclude|say|infer|"
    r"determine|tell|find|get)|determined?|found|got)\b|i['’]d say\b|i am (?:confident|certain|sure)\b|"
    r"it (?:seems|appears|follows|is clear)\b|"
    r"(?:this|which|that) (?:means|shows|suggests|implies|indicates)\b)(?: that\b)?[,:]?"
)
_STATES = (
    rf"(?:(?:the|my|our|your|its|this) )?{_ADJECTIVES}{_NOUNS}{_ABOUT}{_IS}"
    r"(?: ?(?:option|choice|letter|answer)\b(?= ))?"
    r"|(?:the )?(?:(?:best|correct|right|final) )?(?:answer|option|choice)\b(?=[ *_`\n(\[$\"“])"
    r"|final ?:|(?:label|class|category|object|colou?r|order|sequence|count|total|number|value|name|type|text) ?[:=：]"
    r"|(?:select|pick|choose) (?=[(\[]?[A-Za-z][)\]]?(?:[.:,) ]|\Z)|option|choice)"
    r"|(?:(?:i|we)(?: would| will| have to| must| should| can|['’]d|['’]ll| am going to)? )"
    r"(?:choose|select|pick|go with|opt for|going with|answer|chose|selected|picked|say)\b"
    r"(?: (?:the )?(?:option|choice|letter|answer)\b)? ?[:：]?"
    r"|(?:我|应|应该|故|正确|最终|最佳|最后|的|本题|这道题){0,3}"
    r"(?:答案|选项|结果|选择|选|答)(?:应该|应|项)?(?:是|为|选|的是)? ?[:：]?"
    r"|정답은|답은|정답 ?:|答え(?:は|:)"
)
_NAMES = (
    r"(?:it|this|that|they|these|those|he|she|there)(?: (?:is|are|was|were|says|reads|must be|should be|would be|"
    r"appears to be|seems to be|looks like)|['’]s|['’]re)\b(?: (?:clearly|definitely|certainly|indeed|obviously))?"
    r"(?: option\b| choice\b)? ?:?"
)
_SUBJECT = (
    r"(?:it|this|that|(?:the|this|its|his|her|their|your)(?! (?:wrong|incorrect|least|other|opposite|false|worst)\b)"
    r"(?: (?!not\b|never\b|no\b|wrong\b|incorrect\b|except\b)[\w'’-]{1,30}){1,8}?)"
    r" (?:(?:is|are|was|were|equals|reads?|says)|(?P<shows>shows?|contains?|includes?|depicts?|displays?|has|have))\b"
    r" ?:?(?=\s)"
)
_MARKS = r"[#>*_`\s]{0,8}"

# The words, and the first characters of other scripts, that any of these phrases begins with: most answers do not.
_FIRSTS = (
    "the my our your its this very single best correct right final true actual exact only overall numerical short "
    "chosen selected predicted estimated resulting appropriate suitable accurate most answer answers ans option "
    "label class category object color colour order sequence count total number value name type text "
    "options choice choices solution result response conclusion verdict prediction selection i we it that which and so "
    "thus hence therefore then consequently accordingly finally ultimately clearly definitely select pick choose in to "
    "as from for sure ok okay certainly of alright great absolutely hello well based according judging looking by "
    "given considering after"
)
_FIRST_WORDS = frozenset(_FIRSTS.split())
_FIRST = re.compile(rf"{_MARKS}(?:([A-Za-z]{{1,16}})|[我应故正最的本这答选所因综那根结정답])")
_LEADS = re.compile(rf"{_MARKS}(?:(?P<stated>{_STATES})|{_LINKS}|{_CLAIMS}){_MARKS}(?=\S)", re.IGNORECASE)
_ITS = re.compile(rf"{_MARKS}{_NAMES}\s{{0,3}}(?=\S)", re.IGNORECASE)
_OF_SUBJECT = re.compile(rf"{_SUBJECT}{_MARKS}(?=\S)", re.IGNORECASE)
_CLAUSE = re.compile(
    rf"(?:(?<=[.!?,;:\n。，！；])|\A)(?!\s{{12}})\s{{0,3}}(?:{_LINKS} ?|{_CLAIMS} ?){{0,2}}{_MARKS}(?:{_STATES})",
    re.IGNORECASE,
)


def skip_lead(text: str) -> tuple[int, bool]:
    """(where a text goes on after "So, based on the image, the answer is", whether that states an answer)."""
    place, stated = 0, False
    first = _FIRST.match(text)
    if first is None or (first[1] is not None and first[1].lower() not in _FIRST_WORDS):
        return 0, False
    for _ in range(6):
        match = _LEADS.match(text, place)
        if match is None:
            break
        place, stated = match.end(), match["stated"] is not None
        if stated:
            break
    return place, stated


def skip_its(text: str) -> int:
    """Where a text goes on after "It is", "This is", "They're"; 0 where it does not begin so."""
    match = _ITS.match(text)
    return match.end() if match else 0


def skip_subject(text: str) -> tuple[int, bool]:
    """Where a sentence goes on after its subject and verb, as "The color of the car is"; 0 for other texts.

    And whether the verb is one as in "The image shows", which is followed by an article and a thing.
    """
    match = _OF_SUBJECT.match(text)
    return (match.end(), match["shows"] is not None) if match else (0, False)


def last_statement(text: str) -> int | None:
    """Where the answer begins that the one clause of a text states ("…, so the answer is"), up to the text's end.

    None where there is no such clause, or more than one.
    """
    if len(text) > MAX_PROSE:
        return None
    matches = list(islice(_CLAUSE.finditer(text), 2))
    return matches[0].end() if len(matches) == 1 and matches[0].end() < len(text) else None

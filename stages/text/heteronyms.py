"""Words that are written alike and spoken differently: which pronunciation, by part of speech and by context.

Most are noun or verb (`record`): a tag, corrected by the words beside it, picks the lexicon's variant of that role.
A few (`lead`, `bass`, `tear`) need meaning: a short function each looks at the words around.
"""

# Lists of words read best as text:
# ruff: noqa: SIM905

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stages.text.lexicon import Variant

_DETERMINERS = frozenset(
    "the a an this that these those my your his her its our their whose some any no every each another which what "
    "one's 's".split()
)
_BEFORE_VERB = frozenset(
    "to will would can could should must may might shall cannot don't doesn't didn't won't can't couldn't shouldn't "
    "wouldn't please let's i'll you'll we'll they'll he'll she'll it'll i'd you'd we'd they'd i you we they who "
    "never always often do did does let help us".split()
)
_BE = frozenset("am is are was were be been being i'm you're he's she's it's we're they're isn't wasn't aren't".split())
_HAVE = frozenset("have has had having i've you've we've they've he'd haven't hasn't hadn't".split())
_PRESENT_HINTS = frozenset("every always often usually now daily sometimes never today weekly tomorrow".split())
_ROLES = {
    "VB": ("VB",), "VBP": ("VB",), "VBZ": ("VB",), "VBG": ("VB",), "VBD": ("VBD", "VB"), "VBN": ("VBD", "VB"),
    "NN": ("NN",), "NNS": ("NN",), "NNP": ("NN",), "NNPS": ("NN",), "JJ": ("JJ", "NN"), "JJR": ("JJ",),
    "JJS": ("JJ",), "RB": ("RB", "JJ", "NN"), "IN": ("IN",), "DT": ("DT",), "CD": ("CD",), "PRP": ("PRP",),
}  # fmt: skip


@dataclass(frozen=True)
class Context:
    """A word and its neighbours (lower case, '' at the edges and breaks)."""

    word: str
    written: str
    tag: str
    before: str
    before_that: str
    after: str
    after_tag: str
    first: bool
    sentence: frozenset[str]

    def near(self, *words: str) -> bool:
        """Whether the sentence holds any of `words`."""
        return not self.sentence.isdisjoint(words)


def choose(
    index: int, words: list[str], written: list[str], tags: list[str], variants: tuple[Variant, ...]
) -> tuple[str, ...] | None:
    """Phones for `words[index]` among its lexicon variants; None when the lexicon has none."""
    if not variants:
        return None
    if len(variants) == 1:
        return variants[0].phones
    word = words[index]
    context = Context(
        word=word,
        written=written[index],
        tag=tags[index],
        before=words[index - 1] if index else "",
        before_that=words[index - 2] if index > 1 else "",
        after=words[index + 1] if index + 1 < len(words) else "",
        after_tag=tags[index + 1] if index + 1 < len(tags) else "",
        first=index == 0 or not any(words[:index]),
        sentence=frozenset(words),
    )
    special = _SPECIAL.get(word)
    if special:
        return tuple(special(context).split())
    wanted = _ROLES.get(part_of_speech(context), ())
    if word == "contract" and wanted == ("VB",):
        wanted = ("JJ",)  # the lexicon's own slip: k ax n t r ae k t is the verb
    return next((v.phones for role in wanted for v in variants if v.role == role), variants[0].phones)


def part_of_speech(context: Context) -> str:
    """The tagger's tag, corrected where the word before leaves no doubt."""
    before, tag = context.before, context.tag
    if before in _BEFORE_VERB and not (before == "to" and tag.startswith("N") and context.after in ("", "of")):
        return tag if tag in ("VBD", "VBN", "VBP") else "VB"
    if before in _DETERMINERS or before.endswith(("'s", "s'")) and before not in _BE:
        return tag if tag.startswith(("N", "J")) else ("JJ" if context.after_tag.startswith("N") else "NN")
    if context.first and tag.startswith("N") and context.after in _DETERMINERS | {"me", "it", "them", "him"}:
        return "VB"  # an order: 'Record the song.'
    return tag


def _is_verb(context: Context) -> bool:
    return part_of_speech(context).startswith("VB")


def _is_noun(context: Context) -> bool:
    return part_of_speech(context).startswith("NN")


def _read(c: Context) -> str:
    past = "r eh d"
    if c.before in _BE | _HAVE or (c.before in ("already", "just", "ever", "never", "been") and c.before_that in _HAVE):
        return past
    if c.before in ("to", "will", "would", "can", "could", "should", "must", "may", "might", "don't", "didn't",
                    "please", "let's", "i'll", "we'll", "you'll", "do", "did", "a", "the", "good",
                    "cannot", "can't"):  # fmt: skip
        return "r iy d"
    if c.before in ("he", "she", "it") or c.near("yesterday", "ago", "already", "last"):
        return past
    if not c.sentence.isdisjoint(_PRESENT_HINTS) or c.first:
        return "r iy d"
    return past if c.tag in ("VBD", "VBN") else "r iy d"


def _lead(c: Context) -> str:
    metal = ("pipe", "pipes", "paint", "poisoning", "metal", "metals", "toxic", "bullet", "bullets", "pencil", "acid",
             "mercury", "zinc", "copper", "tin", "iron", "heavy", "roof", "gasoline", "lined", "molten",
             "solder")  # fmt: skip
    if c.near(*metal) and not _is_verb(c) and c.before not in ("the", "take", "took", "a", "in"):
        return "l eh d"
    if c.after in (
        "pipe",
        "pipes",
        "paint",
        "poisoning",
        "bullet",
        "bullets",
        "free",
        "lined",
        "based",
        "acid",
        "levels",
    ):
        return "l eh d"
    return "l eh d" if c.before in ("of", "contains", "contain", "contained") and c.after == "" else "l iy d"


def _wind(c: Context) -> str:
    if c.after in ("up", "down", "back") and c.before not in ("the", "strong", "cold"):
        return "w ay n d"
    return "w ay n d" if _is_verb(c) and c.before not in _DETERMINERS else "w ih n d"


def _live(c: Context) -> str:
    if c.after in ("concert", "concerts", "music", "show", "shows", "performance", "performances", "broadcast",
                   "stream", "streaming", "audience", "band", "wire", "animals", "coverage", "event", "events",
                   "chat", "data", "updates", "ammunition", "version", "album", "recording", "action", "bait",
                   "feed", "tv", "television", "theater", "wires", "demo", "session", "on"):  # fmt: skip
        return "l ih v" if c.after == "on" and c.before in _BEFORE_VERB else "l ay v"
    if c.before in ("go", "goes", "went", "going", "streamed", "broadcast", "performed", "performing", "played",
                    "aired", "reporting", "reported", "recorded", "is", "was", "are", "now", "it", "them", "him",
                    "her", "playing"):  # fmt: skip
        return "l ay v"
    return "l ih v" if _is_verb(c) or c.before in ("people", "animals", "who", "where") else "l ay v"


def _tear(c: Context) -> str:
    rip, cry = "t eh r", "t ih r"
    cried = c.near("eye", "eyes", "cheek", "cheeks", "cry", "cried", "crying", "shed", "rolled", "wiped", "sad",
                   "face", "weep", "gas", "joy", "wept")  # fmt: skip
    ripped = c.near("fabric", "paper", "cloth", "muscle", "ligament", "wear", "jeans", "shirt", "page", "apart",
                    "up", "curtain", "pocket", "sail", "knee")  # fmt: skip
    plural = " z" if c.word == "tears" else ""
    if (
        _is_noun(c)
        or c.after in ("gas", "duct", "ducts", "drop", "drops")
        or c.before in ("in", "into", "of", "single")
    ):
        return (rip if ripped and not cried else cry) + plural
    return rip + plural


def _bow(c: Context) -> str:
    plural = " z" if c.word == "bows" else ""
    weapon = c.near(
        "arrow", "arrows", "ribbon", "violin", "hair", "string", "cello", "archer", "tied", "gift", "hunting"
    )
    bent = c.near("ship", "ship's", "stern", "boat", "deck", "actor", "audience", "curtsy") or c.before_that in (
        "take",
        "took",
    )
    return ("b aw" if bent and not weapon or _is_verb(c) and not weapon else "b ow") + plural


def _bass(c: Context) -> str:
    fish = c.near("fish", "fishing", "fished", "lake", "river", "caught", "catch", "sea", "striped", "largemouth",
                  "pond", "fried", "grilled", "trout", "hook", "fisherman", "anglers", "bait")  # fmt: skip
    return "b ae s" if fish and not c.near("guitar", "drum", "drums", "music", "player", "clef") else "b ey s"


def _dove(c: Context) -> str:
    plunged = c.after in ("into", "in", "off", "under", "down", "for", "deep", "from", "straight", "headfirst", "to")
    return "d ow v" if plunged and c.before not in _DETERMINERS | {"white", "gray", "turtle"} else "d ah v"


def _sow(c: Context) -> str:
    pig = c.near("pig", "pigs", "piglets", "boar", "litter") or c.before in ("the", "a", "pregnant", "old")
    return "s aw" if pig and c.before not in _BEFORE_VERB else "s ow"


def _wound(c: Context) -> str:
    turned = c.after in (
        "up",
        "around",
        "down",
        "through",
        "the",
        "its",
        "his",
        "her",
        "their",
        "back",
        "tightly",
        "my",
    )
    if c.before in _DETERMINERS or c.before in (
        "to",
        "will",
        "could",
        "would",
        "can",
        "gunshot",
        "open",
        "stab",
        "flesh",
    ):
        return "w uw n d"
    return "w aw n d" if turned or _is_verb(c) else "w uw n d"


def _polish(c: Context) -> str:
    nation = c.written[:1] == "P" and (not c.first or c.after_tag.startswith(("N", "J")))
    return "p ow l ih sh" if nation else "p aa l ih sh"


def _row(c: Context) -> str:
    plural = " z" if c.word == "rows" else ""
    quarrel = c.after in ("about", "over", "broke", "erupted") or c.near("argued", "argument", "neighbors", "shouting")
    return ("r aw" if quarrel and not _is_verb(c) else "r ow") + plural


def _minute(c: Context) -> str:
    tiny = c.after in ("detail", "details", "amount", "amounts", "particle", "particles", "difference",
                       "differences", "quantities", "quantity", "traces", "changes", "fraction", "crack", "cracks",
                       "variations", "creatures", "organisms", "doses", "dose")  # fmt: skip
    small = c.before in ("very", "extremely", "so", "too", "almost") and c.after == ""
    return "m ay n uw t" if tiny or small else "m ih n ax t"


def _does(c: Context) -> str:
    deer = c.near("deer", "bucks", "buck", "fawns", "stag", "stags") and c.before not in (
        "he",
        "she",
        "it",
        "what",
        "how",
    )
    return "d ow z" if deer else "d ah z"


def _used(c: Context) -> str:
    if c.after != "to":
        return "y uw z d"
    if c.before in _BE - {"get", "got"}:  # 'is used to cut' is a tool; 'is used to the noise' a habit
        return (
            "y uw z d" if c.before in ("is", "are", "be", "been", "being") and not c.near("the", "it") else "y uw s t"
        )
    return "y uw s t"


def _close(c: Context) -> str:
    near = c.after in ("to", "friend", "friends", "look", "call", "attention", "relationship", "contact", "range",
                       "by", "enough", "together", "up", "relative", "relatives", "race",
                       "game", "behind", "ties")  # fmt: skip
    if c.before in ("so", "very", "too", "how", "as", "pretty", "quite", "not", "really", "come", "came", "get",
                    "got", "stay", "stayed", "keep", "that", "is", "are", "was", "were",
                    "a", "his", "her", "my"):  # fmt: skip
        return "k l ow s" if c.after != "of" else "k l ow z"
    if near and c.before not in ("to", "will", "please", "must", "can", "could", "should", "would", "they", "we"):
        return "k l ow s"
    return "k l ow z" if _is_verb(c) or _is_noun(c) else "k l ow s"


def _content(c: Context) -> str:
    happy = c.before in _BE | {
        "very",
        "quite",
        "perfectly",
        "feel",
        "feels",
        "felt",
        "seemed",
        "seems",
        "not",
        "looked",
    }
    happy = happy or c.after == "with" and c.before not in _DETERMINERS
    return "k ax n t eh n t" if happy else "k aa n t eh n t"


def _resume(c: Context) -> str:
    paper = c.before in _DETERMINERS or c.near("job", "resumes", "employer", "hired") and c.before != "to"
    return "r eh z ax m ey" if paper and c.before not in ("i", "we", "they") else "r ih z uw m"


def _excuse(c: Context) -> str:
    verb = c.after in ("me", "us", "him", "her", "them", "my", "our") or _is_verb(c)
    return "ih k s k y uw z" if verb else "ih k s k y uw s"


def _desert(c: Context) -> str:
    leave = _is_verb(c) and c.before not in _DETERMINERS
    return "d ih z er t" if leave else "d eh z er t"


def _invalid(c: Context) -> str:
    person = c.before in _DETERMINERS and not c.after_tag.startswith(("N", "J"))
    return "ih n v ax l ih d" if person else "ih n v ae l ih d"


def _bare(phones: str) -> Callable[[Context], str]:
    return lambda context: phones


_SPECIAL: dict[str, Callable[[Context], str]] = {
    "read": _read, "lead": _lead, "wind": _wind, "live": _live, "tear": _tear, "tears": _tear, "bow": _bow,
    "bows": _bow, "bass": _bass, "dove": _dove, "sow": _sow, "wound": _wound, "polish": _polish, "row": _row,
    "rows": _row, "minute": _minute, "does": _does, "used": _used, "close": _close, "content": _content,
    "resume": _resume, "excuse": _excuse, "desert": _desert, "invalid": _invalid, "number": _bare("n ah m b er"),
    "nice": _bare("n ay s"), "job": _bare("jh aa b"), "sake": _bare("s ey k"), "putting": _bare("p uh t ih ng"),
}  # fmt: skip

"""Written English to spoken words: a golden table, a line per rule, and what no input may break."""

from __future__ import annotations

import random

import pytest

from stages.text.g2p import G2P
from stages.text.normalize import normalize

GOLDEN = """
12 -> twelve
1,234 people -> one thousand two hundred thirty four people
1234567 -> one million two hundred thirty four thousand five hundred sixty seven
1234567890123456 -> one two three four five six seven eight nine zero one two three four five six
007 -> zero zero seven
3.14 -> three point one four
.5 -> zero point five
-5 -> minus five
it is -3.5 today -> it is minus three point five today
the 1st, 2nd and 23rd -> the first second and twenty third
the 100th -> the one hundredth
in 1999 -> in nineteen ninety nine
in 2005 -> in two thousand five
in 1905 -> in nineteen oh five
in 1900 -> in nineteen hundred
in 2026 -> in twenty twenty six
the 1800s -> the eighteen hundreds
the 1980s -> the nineteen eighties
the '90s -> the nineties
class of '68 -> class of sixty eight
1914-18 -> nineteen fourteen to eighteen
1500 people -> fifteen hundred people
1/2 -> one half
3/4 cup -> three quarters cup
2 1/2 cups -> two and a half cups
½ cup -> one half cup
2/3 -> two thirds
24/7 -> twenty four seven
10/10 -> ten out of ten
50% -> fifty percent
3.5% -> three point five percent
5-10% -> five to ten percent
$3.50 -> three dollars and fifty cents
$1 -> one dollar
$0.99 -> ninety nine cents
$1.2 million -> one point two million dollars
$5M -> five million dollars
$5-10 -> five to ten dollars
-$20 -> minus twenty dollars
a $5 bill -> a five dollar bill
£2.50 -> two pounds and fifty pence
€10 -> ten euros
¥500 -> five hundred yen
50¢ -> fifty cents
12/25/2026 -> december twenty fifth twenty twenty six
2026-11-21 -> november twenty first twenty twenty six
Dec. 25th, 2026 -> december twenty fifth twenty twenty six
25 December -> the twenty fifth of december
the 4th of July -> the fourth of july
March 3 -> march third
Jan. 2020 -> january twenty twenty
in Jan. we met -> in january we met
3:05 pm -> three oh five P M
14:30 -> fourteen thirty
12:00 -> twelve o'clock
5 p.m. -> five P M
9 a.m. sharp -> nine A M sharp
7:45 -> seven forty five
555-1234 -> five five five one two three four
(555) 123-4567 -> five five five one two three four five six seven
+44 20 7946 0958 -> plus four four two zero seven nine four six zero nine five eight
2.5 kg -> two point five kilograms
1 kg -> one kilogram
60 mph -> sixty miles per hour
5 km/h -> five kilometers per hour
20°C -> twenty degrees celsius
-5°C -> minus five degrees celsius
90° -> ninety degrees
3 ft -> three feet
5'10" -> five feet ten inches
10 MB -> ten megabytes
3 GHz -> three gigahertz
5 m² -> five square meters
10k -> ten K
5-10 kg -> five to ten kilograms
a 5-kg bag -> a five kilogram bag
Dr. Smith -> doctor smith
Mr. and Mrs. Jones -> mister and missus jones
St. Paul -> saint paul
Main St. is closed -> main street is closed
5th Ave. is closed -> fifth avenue is closed
He lives at 12 Elm Dr. now -> he lives at twelve elm drive now
e.g. cats -> for example cats
cats, dogs, etc. -> cats dogs et cetera
cats vs. dogs -> cats versus dogs
No. 5 -> number five
approx. 10 -> approximately ten
Acme Inc. -> acme incorporated
NASA -> nasa
FBI -> F B I
the FBI's files -> the F B I's files
two PCs -> two P Cs
U.S.A. -> U S A
the U.S. economy -> the U S economy
J. K. Rowling -> J K rowling
AT&T -> A T and T
R&D -> R and D
B2B -> B two B
COVID-19 -> covid nineteen
iPhone 15 -> iphone fifteen
4K -> four K
F-16 -> F sixteen
MP3 -> M P three
H2O -> H two O
Boeing 747 -> boeing seven hundred forty seven
ChatGPT -> chat gpt
YouTube -> youtube
example.com/a -> example dot com slash A
www.example.com -> W W W dot example dot com
bob@example.com -> bob at example dot com
192.168.0.1 -> one ninety two dot one sixty eight dot zero dot one
version 3.11.4 -> version three point eleven point four
salt & pepper -> salt and pepper
2 + 2 = 4 -> two plus two equals four
10 - 3 = 7 -> ten minus three equals seven
3 < 5 -> three less than five
5 > 3 -> five greater than three
#1 -> number one
#winning -> hashtag winning
~50 -> about fifty
2 * 3 -> two times three
4x4 -> four by four
he/she -> he slash she
C++ and C# -> C plus plus and C sharp
an A+ -> an A plus
Henry VIII -> henry the eighth
Queen Elizabeth II -> queen elizabeth the second
Chapter IV -> chapter four
World War II -> world war two
World War I -> world war one
Malcolm X -> malcolm X
pages 3–7 -> pages three to seven
5-10 -> five to ten
won 3-2 -> won three to two
a well-known re-election -> a well known reelection
don't can't it's -> don't can't it's
the boys' toys -> the boys' toys
'tis -> 'tis
STOP RIGHT NOW -> stop right now
GIVE IT TO US -> give it to us
the US team -> the U S team
“Hello,” she said. -> hello she said
wait... what -> wait what
yes (really) -> yes really
café naïve -> cafe naive
ﬁne ｆｕｌｌ -> fine full
a\u00a0b -> a B
zero\u200bwidth -> zerowidth
vitamin A is -> vitamin A is
plan A. -> plan A
A dog -> a dog
the α particle -> the alpha particle
1.5e10 -> one point five times ten to the ten
50 states -> fifty states
"""
CASES = [line.split(" -> ") for line in GOLDEN.strip().splitlines() if "??" not in line]


@pytest.fixture(scope="module")
def g2p() -> G2P:
    return G2P()


def spoken(text: str, g2p: G2P) -> str:
    return " ".join(normalize(text, g2p.known).words)


def test_the_table_is_large():
    assert len(CASES) >= 120


@pytest.mark.parametrize(("written", "expected"), CASES, ids=[case[0] for case in CASES])
def test_golden(written, expected, g2p):
    written = written.replace("\\u00a0", "\u00a0").replace("\\u200b", "\u200b")
    assert spoken(written, g2p) == expected


@pytest.mark.parametrize(
    ("text", "unspoken"),
    [
        ("hi 😀!", ("😀",)),
        ("say Привет now", ("Привет",)),
        ("zero\u200bwidth", ("U+200B",)),
        ("<b>bold</b>", ("<b>", "</b>")),
    ],
)
def test_what_has_no_spoken_form_is_reported(text, unspoken, g2p):
    assert normalize(text, g2p.known).unspoken == unspoken


def test_breaks(g2p):
    tokens = normalize('One, two; three: four (five) — six... "seven" eight.', g2p.known).tokens
    assert "".join("|" if not t.word else "w" for t in tokens) == "w|w|w|w|w|w|ww"


def test_no_plain_word_is_lost(g2p):
    rng = random.Random(7)
    words = "apple river stone quickly under table window garden seven morning letter".split()  # noqa: SIM905
    for _ in range(100):
        chosen = [rng.choice(words) for _ in range(rng.randint(1, 12))]
        text = "".join(
            word + rng.choice([" ", ", ", "; ", " - ", "... ", "! ", " (", ") ", '" ', "\n", " * "]) for word in chosen
        )
        assert normalize(text, g2p.known).words == chosen

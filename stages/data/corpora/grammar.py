"""Sentences that ordinary text is short of: numbers, money, dates, times, names, questions, lists, commands."""

from __future__ import annotations

import random

NAMES = """Alice Arthur Barbara Benjamin Carol Charles Daniel David Deborah Edward Elizabeth Emma Ethan Frank George Grace
Hannah Harold Helen Henry Isabel Jack James Jane Jason Jennifer John Joseph Karen Kate Kevin Laura Leonard Linda Lucy Margaret
Maria Mark Martha Martin Mary Michael Nancy Nathan Nicole Oliver Oscar Pamela Patrick Paul Peter Philip Rachel Rebecca Richard
Robert Roger Rose Ruth Samuel Sandra Sarah Simon Sophie Stephen Susan Theresa Thomas Timothy Tony Victor Victoria Walter William""".split()
PLACES = """Athens Austin Baltimore Berlin Boston Bristol Cairo California Canada Chicago Dallas Delhi Denver Dublin Egypt England
Florida France Geneva Georgia Germany India Ireland Italy Japan Kansas Kenya London Madrid Memphis Mexico Montana Moscow Nevada
Norway Ohio Oregon Oxford Paris Peru Phoenix Portland Prague Rome Scotland Seattle Spain Sweden Texas Tokyo Toronto Turkey Vermont
Vienna Virginia Wales Warsaw Washington""".split()
THINGS = """apples batteries blankets books bottles boxes bricks buckets buttons candles chairs coins cups envelopes flags gloves
hammers jars keys ladders lamps maps mirrors nails notebooks onions oranges pages pencils pillows plates potatoes ropes shirts shoes
spoons stamps stones tables tickets tomatoes tools towels wheels windows""".split()
PLACE_NOUNS = """airport bakery bank barn beach bridge castle church corner farm forest garden harbor hospital hotel kitchen lake
library market mountain museum office park river school station store street theater tower town valley village""".split()
JOBS = """artist baker carpenter dentist doctor driver engineer farmer fisherman gardener judge lawyer librarian mayor mechanic
nurse painter pilot sailor singer soldier surgeon tailor teacher waiter writer""".split()
ADJECTIVES = """ancient bitter brave bright broken calm cheap clever cold cruel curious dark deep dirty dusty early empty expensive
faint famous fresh gentle golden heavy hollow honest hungry little lonely loud lucky narrow nervous old patient plain polite proud
quick quiet rare rough sharp silent silver simple slow small smooth soft strange strong sudden tall thick tiny tired warm wild
wooden young yellow""".split()
PAST = """borrowed bought carried chose cleaned collected counted described discovered dropped examined finished forgot found fixed
gathered hid ignored kept left lost mentioned moved noticed ordered painted placed promised pulled pushed received refused
remembered repaired sold shared showed stole studied touched washed watched wanted""".split()
MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
UNITS = "miles kilometers pounds inches feet meters hours minutes seconds degrees gallons percent".split()
WHEN = [
    "yesterday",
    "last night",
    "this morning",
    "a year ago",
    "before dinner",
    "after the storm",
    "in the evening",
    "at noon",
    "during the war",
    "every summer",
    "by accident",
    "without a word",
    "with great care",
    "as usual",
]

TEMPLATES = """{Name} {past} {n} {things} {when}.
The {adj} {job} {past} the {adj2} {things} near the {place}.
The train to {Place} leaves at {time}.
On {Month} {day}, {year}, {Name} moved to {Place}.
It costs {money}, not {money2}.
Would you like {n} {things} or {n2} {things2}?
Where did {Name} put the {adj} {things}?
Why is the {place} so {adj} {when}?
How many {things} did the {job} buy?
Who {past} the {things} at the {place}?
What time does the {place} open on {Day}?
{Name}, {Name2}, and {Name3} walked to the {place}.
We need {things}, {things2}, {adj} {things3}, and {n} {things4}.
The {place} is {n} {units} from the {place2}.
About {p} percent of the {things} were {adj}.
{Name} was born in {year} in {Place}.
Please bring the {adj} {things} to room {n3}.
Do not touch the {things}!
Turn left at the {place}, then walk {n} {units}.
The temperature fell to {n} degrees on {Day}.
My phone number is {digits}.
Doctor {Name} and Mister {Name2} {past} the {things} {when}.
I think the {job} from {Place} is {adj}.
She said that the {place} was {adj}, {adj2}, and {adj3}.
He {past} it, but the {job} {past2} it again.
If the {place} is closed, call {Name} at {time}.
There are {n} {things} in the {place}, and {n2} of them are {adj}.
{Name} asked the {job}, "Is the {place} {adj}?"
Chapter {n}, page {n3}.
The {ordinal} {job} was {adj}, but the {ordinal2} was {adj2}.
From {Day} to {Day2}, the {place} closes at {time}.
In {Place}, {adj} {things} cost {money}.
{Name} will be {n} years old in {Month}.
Can {Name} and {Name2} come to the {place} on {Day}?
Is this the road to {Place}, or to {Place2}?
Yes, the {job} {past} them {when}.
No, {Name} never {past} the {things}.
{n}, {n2}, {n3}, and {n4}.
The {things} are {adj}, and so are the {things2}.
Although the {job} was {adj}, {Name} {past} the {things} and left for {Place} {when}.""".splitlines()


def _fields(rng: random.Random) -> dict[str, str]:
    small, large = rng.randint(2, 99), rng.randint(100, 9999)
    ordinal = ["first", "second", "third", "fourth", "fifth", "sixth", "tenth", "twelfth", "twentieth", "thirtieth"]
    things, names, adjectives = rng.sample(THINGS, 4), rng.sample(NAMES, 3), rng.sample(ADJECTIVES, 3)
    places, nouns, past, days = (
        rng.sample(PLACES, 2),
        rng.sample(PLACE_NOUNS, 2),
        rng.sample(PAST, 2),
        rng.sample(DAYS, 2),
    )
    return {
        "Name": names[0],
        "Name2": names[1],
        "Name3": names[2],
        "Place": places[0],
        "Place2": places[1],
        "place": nouns[0],
        "place2": nouns[1],
        "job": rng.choice(JOBS),
        "past": past[0],
        "past2": past[1],
        "adj": adjectives[0],
        "adj2": adjectives[1],
        "adj3": adjectives[2],
        "things": things[0],
        "things2": things[1],
        "things3": things[2],
        "things4": things[3],
        "n": str(small),
        "n2": str(rng.randint(2, 20)),
        "n3": str(rng.choice([small, large, rng.randint(100, 999)])),
        "n4": str(rng.randint(1, 10 ** rng.randint(1, 6))),
        "p": str(rng.randint(1, 99)),
        "units": rng.choice(UNITS),
        "money": f"${rng.randint(1, 200)}.{rng.randint(1, 99):02d}",
        "money2": f"${rng.randint(2, 9000)}",
        "time": f"{rng.randint(1, 12)}:{rng.randint(0, 59):02d}",
        "year": str(rng.randint(1700, 2030)),
        "Month": rng.choice(MONTHS),
        "day": str(rng.randint(1, 31)),
        "Day": days[0],
        "Day2": days[1],
        "digits": " ".join(rng.choice("0123456789") for _ in range(7)),
        "ordinal": ordinal[rng.randrange(5)],
        "ordinal2": ordinal[5 + rng.randrange(5)],
        "when": rng.choice(WHEN),
    }


def sentences(count: int, seed: int) -> list[str]:
    """`count` different sentences, the same ones for the same seed."""
    rng = random.Random(seed)
    out: dict[str, None] = {}
    while len(out) < count:
        text = rng.choice(TEMPLATES).format(**_fields(rng))
        out[text[0].upper() + text[1:]] = None
    return list(out)

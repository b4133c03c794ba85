"""Sentences of a closed grammar: the open words by their kind, of which every tenth never occurs in training.

the ADJECTIVE NOUN VERB the ADJECTIVE NOUN PLACE the NOUN
NUMBER ADJECTIVE NOUN and NUMBER NOUN VERB PLACE the ADJECTIVE NOUN
WHEN the NOUN VERB NUMBER ADJECTIVE NOUN with a NOUN
"""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

KINDS = {
    "NOUN": """
    account actor address afternoon agent airplane airport alarm album alley ambulance anchor animal ankle answer
    apartment apple apron arch argument arm armor army arrow article artist aunt author autumn avenue baby badge bag
    baker bakery balcony ball balloon banana band bandage bank banker banner barber bargain barn barrel basement
    basin basket battery battle beach bean bear beard beast bed bedroom bee beef beggar bell belt bench berry
    bicycle bill bird biscuit blanket blizzard block blossom board boat body bone bonnet book border boss bottle
    bowl box boy bracelet brain branch brass bread breakfast breeze brick bride bridge broom brother bucket buffalo
    builder building bullet bundle bus bush butcher butter butterfly button cabbage cabin cabinet cable cake
    calendar camel camera camp canal candle candy cannon canoe canvas captain car card carpenter carpet carriage
    carrot cart cartoon castle cat cattle cave ceiling cellar cement chain chair chalk champion channel chapel
    chapter cheese cherry chest chicken chief child chimney chin chocolate church cigar circle circus citizen city
    clerk cliff clinic clock closet cloth cloud club coach coal coast coat coconut coffee coin collar college column
    comb comet companion compass contest cook cookie copper corn corner costume cottage cotton couch counter country
    county couple cousin cow cowboy cradle crane crayon cream creature creek cricket crop crow crowd crown cube cup
    cupboard curtain cushion customer dance dancer daughter dealer deck deer desert desk dessert detective diamond
    diary dinner dinosaur dish doctor document dog doll dollar dolphin donkey door dragon drawer dream dress driver
    drum duck dungeon dwarf eagle ear earthquake editor egg elbow elephant elevator emperor engine engineer envelope
    eraser evening event examiner eye factory fairy family farm farmer father feast feather fence ferry festival
    field film finger fire fireman fish fisherman flag flame flashlight fleet flood floor flour flower flute fog
    foot football forest fork fortress fountain fox frame freezer friend frog fruit funnel furnace garage garden
    garlic gate general giant gift giraffe girl glacier glass glove goat gold goose governor grandfather grape grass
    guard guest guide guitar hall hammer hammock hand handle harbor hat hawk heart heater hedge helmet hen hero
    highway hill hockey hole holiday honey hook horn horse hospital hotel hour house hunter hurricane husband icicle
    inch infant insect iron island ivory jacket jail jar jewel journal journey judge juice jungle jury kettle key
    king kitchen kite kitten knee knife knight ladder lady lake lamb lamp lantern laundry lawyer leader leaf leather
    lemon lesson letter lettuce library lion lizard lobster locket lumber lunch machine magazine magnet mailbox
    manager map marble market marriage mask mayor meadow meal meat medal medicine melon member merchant message
    metal meteor minister minute mirror mitten model monkey monster month monument moon morning mother motor
    mountain mouse mouth movie muffin muscle museum mushroom musician nail napkin neck necklace needle neighbor
    nephew nest net newspaper niece night notebook novel nurse oak oar ocean officer onion orange orchard organ
    otter oven owl owner oyster package page pail painter palace pancake panda panther paper parade parcel parent
    park parrot partner passenger pasture path patient pavement peach peanut pear pearl pebble pen pencil penguin
    pepper piano picnic picture pie pig pigeon pillow pilot pipe pirate pitcher planet plant plate platform player
    plumber pocket poem poet police pond pony porch potato powder present president priest prince princess printer
    prison prisoner prize professor puddle pumpkin pupil puppet puppy purse puzzle pyramid queen quilt rabbit radio
    railway rain rainbow ranch razor recipe refrigerator report restaurant ribbon rice rider rifle ring river road
    robin robot rocket roof room rooster root rope rose rug ruler runner saddle sailor salad salmon salt sandwich
    satellite saucer sausage scarf school scientist scissors scooter scout screen sculptor season secret secretary
    senator servant shadow shark sheep sheriff shirt shoe shop shoulder shovel shower sidewalk signal silver singer
    sister skeleton skirt sled smoke snail snake snow soap soccer sock sofa soldier song soup spear spider spoon
    spring squirrel stable stadium stairs stamp star statue steam steel stick stomach stone store storm stove
    stranger strawberry street student studio sugar suitcase summer sunset surgeon sweater sword table tablet tailor
    teacher teapot telephone telescope temple tennis tent theater thief throat throne thumb thunder ticket tiger
    toast tobacco toilet tomato tongue tool tooth torch tournament towel tower town toy tractor trader trail train
    treasure tree triangle tribe truck trumpet trunk tunnel turkey turtle twig uncle uniform valley van vase
    vegetable vehicle village violin visitor volcano voyage wagon waiter wall wallet walnut warrior watch water wave
    weapon weather wedding weekend whale wheat wheel whip whistle widow wife window winter witness wizard wolf woman
    wood wool worker world worm wound wrist writer yacht yard zebra
    """,
    "ADJECTIVE": """
    able active ancient angry annual anxious awful awkward bald bare basic beautiful bitter black blank blind blue
    bold boring brave brief bright brilliant broad broken brown calm careful careless charming cheap cheerful chilly
    civil classic clean clear clever cold colorful comfortable common complete complex constant cool correct crazy
    crooked cruel curious curly damp dangerous dark dead deaf dear decent deep delicate delicious dirty distant
    double dry dull dusty eager early eastern easy elegant empty enormous entire equal evil exact excellent exciting
    expensive faint fair faithful familiar famous fancy fat favorite fierce final fine firm flat foolish foreign
    fragile free fresh friendly frozen full funny furious gentle genuine glad golden good graceful grand grateful
    gray great greedy green guilty handsome handy happy hard harmless hasty healthy heavy helpful hidden high hollow
    holy honest horrible hot huge humble hungry ideal idle ill important impossible innocent jealous jolly keen kind
    large late lazy legal light little lively local lonely long loose loud lovely loyal lucky mad magic main
    marvelous massive mean mighty mild modern modest muddy mysterious naked narrow nasty native natural naughty neat
    nervous new nice noble noisy normal northern odd old open ordinary original pale patient perfect plain playful
    pleasant polite poor popular powerful precious pretty previous private proper proud public pure purple quick
    quiet rapid rare raw ready real recent red regular rich ripe rotten rough round royal rude rusty sad safe salty
    scared secret selfish serious severe shallow sharp shiny short shy sick silent silly simple single skinny sleepy
    slim slippery slow small smart smooth social soft solid sorry southern spare special spicy square stale steady
    steep sticky stiff strange strict strong stubborn stupid sudden sunny super sweet swift tall tame tasty tender
    terrible thick thin thirsty tidy tight tiny tired total tough tropical true typical ugly unhappy unique upset
    urban useful usual vacant vague valuable vast violent visible warm weak wealthy weary weird western wet white
    whole wicked wide wild willing wise wonderful wooden wrong yellow young
    """,
    "VERB": """
    accepted accused admired adopted advised amazed amused announced annoyed approached arranged arrested attacked
    avoided awarded balanced banned begged blamed blessed boiled borrowed bothered bought bounced broke brought
    brushed built buried burned called carried carved caught caused challenged changed charged chased checked
    cheered chewed chose circled claimed cleaned cleared climbed closed collected combed comforted compared
    completed confused congratulated copied counted covered crashed created crossed crushed cured damaged decorated
    defeated defended delayed delivered described deserved designed destroyed discovered divided doubted dragged
    drew dried dropped drove dusted earned educated employed enjoyed entered escaped examined exchanged expected
    explained explored faced fed fetched filled finished fixed floated followed forced forgave forgot fought found
    freed fried frightened gathered gave grabbed greeted guarded guessed guided hated heard heated helped hid hired
    hit hunted hurried ignored imagined impressed improved injured inspected invented invited joined judged kicked
    killed kissed knocked knew labeled landed lifted liked locked loved married matched measured melted mended
    mentioned missed mixed moved named needed noticed obeyed observed offered opened ordered owned packed painted
    passed paused picked pinched planned planted played pleased pointed polished poured praised preferred prepared
    pressed printed produced promised protected pulled pumped punished purchased pushed questioned raised reached
    recognized recorded refused rejected released remembered removed repaired replaced rescued returned robbed
    rolled rubbed ruined saved scared scratched searched served shaved shocked shook sketched smelled sold solved
    sorted spared spilled splashed spotted squeezed stole stopped stored stretched supplied supported surprised
    surrounded suspected swallowed swept tasted taught teased tested thanked threw tickled touched trained trapped
    treated trusted turned twisted understood visited wanted warned washed watched weighed welcomed whipped won
    worried wrapped
    """,
    "NUMBER": """
    one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety several many few some
    """,
    "PLACE": """
    above across after against along among around before behind below beneath beside between beyond by during inside
    near outside over past through toward under upon within without
    """,
    "WHEN": """
    again already always eventually finally formerly frequently gladly gradually maybe meanwhile never nobody now
    occasionally often perhaps recently seldom slowly sometimes soon suddenly today tomorrow tonight usually
    yesterday
    """,
}

TEMPLATES = (
    "the ADJECTIVE NOUN VERB the ADJECTIVE NOUN PLACE the NOUN",
    "NUMBER ADJECTIVE NOUN and NUMBER NOUN VERB PLACE the ADJECTIVE NOUN",
    "WHEN the NOUN VERB NUMBER ADJECTIVE NOUN with a NOUN",
)

CLOSED = frozenset({"the", "and", "with", "a"})
"""Words that the grammar gives away."""


SHORT = 4
"""Sounds of a short word."""


class Words(NamedTuple):
    """Open words by their kind."""

    known: dict[str, list[str]]
    unseen: dict[str, list[str]]

    @property
    def count(self) -> int:
        return sum(map(len, (*self.known.values(), *self.unseen.values())))


def words(dictionary: Path | None = None) -> Words:
    """The words that a recogniser's dictionary has; every tenth of the large kinds is never in training."""
    lines = [] if dictionary is None else dictionary.read_text("utf-8").splitlines()
    sounds = {line.split()[0]: line.split()[1:] for line in lines}
    known, unseen = {}, {}
    for kind, text in KINDS.items():
        kept = sorted({each for each in text.split() if dictionary is None or each in sounds})
        random.Random(kind).shuffle(kept)
        kept = distinct(kept, sounds)
        out = len(kept) // 10
        known[kind], unseen[kind] = sorted(kept[out:]), sorted(kept[:out])
    return Words(known, unseen)


def distinct(kept: Sequence[str], sounds: Mapping[str, Sequence[str]]) -> list[str]:
    """Words of which no two short ones differ by a single sound: nobody could tell those apart in such sentences."""
    found: list[str] = []
    for word in kept:
        own = sounds.get(word, word)
        near = (sounds.get(each, each) for each in found)
        if len(own) > SHORT or not any(abs(len(own) - len(other)) < 2 and errors(own, other) < 2 for other in near):
            found.append(word)
    return found


def sentence(chosen: dict[str, list[str]], rng: random.Random, template: str | None = None) -> str:
    """A sentence of these words."""
    form = template or rng.choice(TEMPLATES)
    return " ".join(rng.choice(chosen[each]) if each in chosen else each for each in form.split())


def grammar(chosen: Words) -> str:
    """The grammar of all sentences, known words and unseen ones, in the format of Java speech grammars."""
    rules = [f"<{kind}> = {' | '.join(sorted([*chosen.known[kind], *chosen.unseen[kind]]))};" for kind in chosen.known]
    forms = [" ".join(f"<{each}>" if each in chosen.known else each for each in form.split()) for form in TEMPLATES]
    return "\n".join(["#JSGF V1.0;", "grammar speech;", f"public <all> = {' | '.join(forms)};", *rules])


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Words that must be changed, added or left out to make what was said of what was heard (edit distance)."""
    row = list(range(len(heard) + 1))
    for number, one in enumerate(said, 1):
        before, row[0] = row[0], number
        for column, other in enumerate(heard, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (one != other))
    return row[-1]

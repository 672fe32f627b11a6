"""The phrases that the text tower is distilled on: what people type for a sound, and plain English for breadth.

Sound phrases are drawn from word lists (sources, what they do, how, where) and templates; WordNet adds lemmas,
short glosses and example sentences, so that a word nobody thought of is not a blank.
"""

from __future__ import annotations

import hashlib
import random
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# One line a group: "who: what they do", both comma-separated; verbs are base forms.
_SOURCES = """
dog, puppy, hound, guard dog, small dog: bark, growl, howl, whine, whimper, pant, yap, snarl
cat, kitten: meow, purr, hiss, yowl, mew
wolf, coyote, jackal, fox: howl, yelp, bark, growl
cow, bull, calf, ox, buffalo: moo, bellow, low, graze
sheep, lamb, goat, ram: bleat, baa, call
pig, piglet, boar: oink, grunt, squeal, snort
horse, pony, donkey, mule, zebra: neigh, whinny, bray, gallop, trot, snort
lion, tiger, leopard, panther, bear, jaguar: roar, growl, snarl
monkey, chimpanzee, gorilla, baboon, gibbon: chatter, screech, howl, hoot
elephant, rhinoceros, hippopotamus, camel, giraffe, deer, elk, moose: trumpet, bellow, call, grunt
mouse, rat, squirrel, hamster, guinea pig, bat, rabbit, hedgehog, badger, raccoon: squeak, scurry, chitter, gnaw
bird, songbird, sparrow, robin, blackbird, nightingale, canary, finch, thrush, wren, lark, starling, warbler: chirp, \
sing, tweet, call, twitter, flap
crow, raven, magpie, jay: caw, croak, call
owl, pigeon, dove, cuckoo: hoot, coo, call, flap
duck, goose, swan, seagull, gull, penguin, pelican, heron, loon: quack, honk, squawk, call, flap
chicken, hen, rooster, turkey, peacock, chick: cluck, crow, gobble, cackle, peep
eagle, hawk, falcon, vulture, parrot, parakeet, woodpecker, kingfisher, hummingbird: screech, squawk, cry, peck, drum
frog, toad, tree frog, bullfrog: croak, ribbit, call, peep
cricket, cicada, grasshopper, katydid: chirp, buzz, sing, stridulate
bee, fly, mosquito, wasp, hornet, insect, beetle, dragonfly, bumblebee: buzz, hum, drone, fly
snake, rattlesnake, crocodile, alligator, lizard: hiss, rattle, growl
whale, dolphin, orca, seal, sea lion, walrus, otter: sing, click, whistle, bark, call
man, woman, boy, girl, child, kid, person, old man, old woman, young woman, teenager, toddler, narrator, presenter, \
announcer, speaker, teacher, news reader, politician, comedian, reporter, interviewer, guest, host: speak, talk, \
whisper, shout, scream, laugh, cry, sing, hum, cough, sneeze, yell, read aloud, breathe, mumble, sigh, snore, groan, \
giggle, sob, yawn, whistle, argue, chuckle, murmur, hiccup, gasp, cheer
baby, infant, newborn: cry, laugh, babble, giggle, coo, wail, scream
crowd, audience, group of people, children, fans, spectators, congregation, protesters: cheer, applaud, clap, chant, \
boo, laugh, talk, murmur, chatter, scream, whistle
singer, vocalist, choir, soprano, tenor, baritone, rapper, lead singer, backing singer, opera singer, duo, boy band: \
sing, harmonize, hum, rap, croon, belt, chant, yodel, improvise
guitar, acoustic guitar, electric guitar, bass guitar, classical guitar, ukulele, banjo, mandolin, lute, sitar, oud, \
twelve string guitar, slide guitar, steel guitar, distorted guitar, clean guitar, rhythm guitar, lead guitar: play, \
strum, pick, pluck, solo, chug, ring, distort
bass, double bass, upright bass, synth bass, slap bass, sub bass, bassline, fretless bass: play, groove, thump, rumble, \
walk, pluck
piano, grand piano, upright piano, electric piano, keyboard, organ, church organ, hammond organ, harpsichord, \
clavinet, celesta, accordion, harmonium, toy piano, synthesizer, synth, synth pad, synth lead, arpeggiator, mellotron: \
play, ring, chime, sustain, swell, solo
violin, viola, cello, fiddle, string quartet, string section, strings, harp, zither, koto, erhu, dulcimer, lyre: play, \
bow, pluck, swell, sing, solo
trumpet, trombone, tuba, french horn, cornet, flugelhorn, horn section, brass section, brass band, bugle, euphonium, \
sousaphone: play, blare, blow, sound, solo
flute, piccolo, clarinet, oboe, bassoon, saxophone, alto saxophone, tenor saxophone, recorder, tin whistle, pan flute, \
bagpipes, harmonica, ocarina, didgeridoo, kazoo, melodica, shakuhachi, english horn: play, blow, whistle, wail, drone, \
solo
drum, drum kit, drums, kick drum, snare drum, bass drum, tom, hi-hat, open hi-hat, closed hi-hat, cymbal, crash cymbal, \
ride cymbal, drum machine, drum loop, rimshot, floor tom, brushes, snare, kick, percussion: beat, hit, roll, pound, \
crash, thump, play, tap
bongos, congas, djembe, tabla, timpani, taiko, cajon, tambourine, maraca, shaker, cowbell, triangle, woodblock, \
castanets, claves, guiro, cabasa, steelpan, marimba, xylophone, vibraphone, glockenspiel, gong, tubular bells, kalimba, \
music box, handbell, timbales, hang drum, finger snaps, hand claps: play, ring, shake, strike, tap, rattle, tinkle, beat
orchestra, symphony orchestra, jazz band, rock band, marching band, big band, street musician, dj, ensemble: play, \
perform, rehearse, tune up, crescendo
lead vocals, backing vocals, background vocals, vocals, vocal, harmony vocals, ad libs, voice, voices, singing voice, \
beatboxing, chorus, scat: sing, harmonize, echo, layer, rap, soar
riff, melody, beat, loop, sample, solo, chord, arpeggio, intro, outro, hook, drop, breakdown, groove: play, repeat, \
build, fade
car, sports car, race car, taxi, old car, electric car, police car, van, pickup truck, jeep: drive by, accelerate, \
idle, brake, start, skid, honk, rev, pass by, crash
truck, lorry, bus, tractor, bulldozer, excavator, garbage truck, fire truck, tank, forklift, ambulance: drive by, \
rumble, idle, reverse, beep, brake, honk
motorcycle, motorbike, scooter, moped, dirt bike, go-kart, quad bike, snowmobile: rev, accelerate, idle, ride past, race
bicycle, skateboard, roller skates, shopping cart, wheelchair, pram: roll, squeak, clatter, ride past
train, steam train, subway train, freight train, tram, locomotive, railway: pass by, whistle, clatter, brake, rumble, \
chug, depart, arrive
airplane, jet, propeller plane, helicopter, fighter jet, drone, glider, airliner, rocket, hot air balloon: fly over, \
take off, land, hover, roar, launch, whir
boat, motorboat, ship, ferry, rowing boat, sailboat, submarine, jet ski, canoe: sail, creak, chug, sound its horn, float
engine, motor, diesel engine, car engine, generator, turbine, exhaust, compressor, pump, conveyor belt, gearbox: run, \
idle, rev, hum, start, stall, rattle, whir, sputter, rumble
car horn, foghorn, air horn, train horn, bicycle bell, truck horn, ship's horn: honk, blare, toot, sound, beep
siren, police siren, ambulance siren, alarm, fire alarm, smoke alarm, car alarm, burglar alarm, alarm clock, buzzer, \
air raid siren, smoke detector, carbon monoxide alarm, metal detector: wail, beep, ring, blare, sound, go off
phone, telephone, mobile phone, doorbell, bell, church bell, school bell, bicycle bell, wind chimes, cow bell, \
intercom, pager, ringtone, dial tone, notification: ring, chime, buzz, vibrate, toll, jingle, ding
clock, grandfather clock, wristwatch, metronome, timer, stopwatch, cuckoo clock: tick, chime, strike, tock
door, gate, car door, cupboard, drawer, garage door, window, floorboard, hinge, screen door: open, close, slam, creak, \
squeak, knock, rattle
footsteps, high heels, boots, running feet, shoes: approach, walk, run, crunch, echo, shuffle, stomp
rain, storm, thunder, thunderstorm, hail, rainfall, drizzle, snow, lightning: fall, pour, patter, rumble, crash, roll, \
clap, drip
wind, breeze, gale, hurricane, tornado, blizzard, leaves, trees, grass, branches, bamboo: blow, howl, rustle, whistle, \
gust, creak, sway
water, stream, river, waterfall, brook, fountain, tap, faucet, shower, bathtub, sink, drain, puddle, swimming pool: \
run, flow, drip, splash, gurgle, trickle, pour, bubble, gush
ocean, sea, wave, surf, lake, tide: crash, lap, roar, break, wash ashore
fire, campfire, fireplace, bonfire, wildfire, match, candle, lighter, torch: crackle, burn, roar, pop, ignite, hiss
earthquake, volcano, avalanche, rockslide, geyser, glacier, lava: rumble, erupt, crack, roar
gun, pistol, rifle, machine gun, shotgun, cannon, artillery, bomb, firework, firecracker, grenade, explosion, missile: \
fire, shoot, explode, bang, boom, pop, reload, blast
hammer, saw, hand saw, chainsaw, drill, electric drill, jackhammer, sander, grinder, angle grinder, nail gun, axe, \
screwdriver, wrench, anvil, file, lathe, power tool, circular saw, table saw, welder, pickaxe, shovel, ratchet: \
hammer, cut, drill, grind, whir, buzz, pound, scrape, dig, clank
lawn mower, leaf blower, hedge trimmer, sprinkler, rake, string trimmer, wood chipper: run, mow, buzz, blow, spray, whir
vacuum cleaner, washing machine, dishwasher, tumble dryer, hair dryer, blender, mixer, food processor, coffee machine, \
microwave oven, refrigerator, fan, air conditioner, electric shaver, toothbrush, electric toothbrush, sewing machine, \
boiler, heater, ceiling fan, extractor fan, kettle, toaster, juicer, coffee grinder: run, hum, whir, buzz, beep, spin, \
whistle, boil, vibrate, grind
dish, plate, glass, cup, bottle, cutlery, fork, spoon, knife, pot, pan, frying pan, bowl, tin can, jar, cork, tray, \
wine glass, chopping board: clink, clatter, break, shatter, rattle, clang, drop, scrape, pop, smash
food, steak, bacon, egg, popcorn, vegetables, oil, soup, apple, crisps, cereal, carrot: fry, sizzle, chop, boil, crunch, \
pop, chew, simmer
paper, newspaper, book, page, cardboard box, plastic bag, envelope, wrapping paper, foil, scissors, stapler, tape, \
pencil, pen, chalk, marker: rustle, crumple, tear, turn, fold, cut, scribble, write, scratch, squeak
computer, keyboard, computer keyboard, mouse click, typewriter, printer, dot matrix printer, hard drive, scanner, \
modem, laptop fan, server, cash register, camera, camera shutter, fax machine, photocopier, projector, game console, \
arcade machine, slot machine: type, click, clack, whir, print, beep, hum, boot up
radio, television, loudspeaker, megaphone, walkie-talkie, record player, tape recorder, podcast, turntable, \
answering machine, robot voice, voice assistant: play, crackle, hiss, static, talk, broadcast, scratch, hum
chain, key, coin, bunch of keys, zipper, lock, padlock, switch, light switch, button, lever, spring, screw, nail, \
metal pipe, metal sheet, bolt, handcuffs, wire, belt buckle: rattle, jingle, click, clank, clink, drop, snap, zip, turn
wood, log, stick, plank, rope, leather, chair, table, bed, staircase, ladder, swing, rocking chair, sofa: creak, crack, \
snap, squeak, break, knock, scrape, tap
ball, basketball, tennis ball, ping pong ball, golf club, baseball bat, bowling pins, billiard balls, dice, playing \
cards, boxing bag, trampoline, hockey stick, whip, bow and arrow, sword, football: bounce, hit, roll, clack, kick, \
whoosh, thud, shuffle, swish
toilet, flush, hand, finger, stomach, heart, heartbeat, knuckles, teeth, nose, lips, throat, breath, pulse: flush, \
gurgle, beat, crack, clap, snap, rumble, grind, thump, sniff, click
hum, hiss, static, white noise, pink noise, feedback, mains hum, crackle, buzz, click, pop, glitch, beep, tone, \
sine wave, dial tone, electrical interference, tape hiss, vinyl crackle, room tone, reverb, echo, distortion, noise, \
microphone bump, plosive, mouth click, rustle, handling noise, sub rumble, whine: persist, fade, buzz, hum, hiss, swell
traffic, city street, restaurant, office, airport, train station, playground, supermarket, factory, construction site, \
forest, jungle, beach, farm, market, stadium, classroom, hospital, kitchen, harbour, pub, cafe, church, gym, cave, \
swimming hall, casino, concert hall, train carriage, shopping mall, library, garden: hum, bustle, rumble, echo, buzz
laser, spaceship, robot, monster, ghost, alien, zombie, dragon, magic spell, teleporter, video game, cartoon, sound \
effect, whoosh, riser, impact, boing, splat, dragon, dinosaur, power up, coin pickup, jump: zap, beep, growl, moan, \
roar, hum, whoosh, sparkle, bounce, sound
speech, conversation, interview, narration, commentary, dialogue, lecture, laughter, applause, cheering, screaming, \
whispering, shouting, crying, coughing, sneezing, breathing, snoring, chewing, gargling, burping, farting, whistling, \
humming, clapping, stamping, chanting, prayer, sermon, argument, gossip, phone call, voice over, audiobook, story, \
small talk, chatter, babble, walla: continue, fade, echo, start, stop, interrupt
music, background music, song, instrumental, soundtrack, jingle, lullaby, anthem, hymn, concert, ambient music, \
karaoke, theme tune, elevator music, game music, film score, christmas carol, wedding music: play, loop, fade, start, \
stop, swell
"""

# Every phrase with one of these words is kept out of training: they measure what the student does with new nouns.
HELD_OUT_NOUNS = (
    "seal goat hyena walrus cuckoo woodpecker cicada rattlesnake kitten hippopotamus banjo oboe tuba bassoon harpsichord "
    "xylophone tambourine kazoo ukulele trombone tractor snowmobile ferry submarine tram foghorn metronome doorbell "
    "typewriter stapler jackhammer blender toaster kettle sewing popcorn waterfall avalanche cannon firecracker zipper "
    "skateboard billiard heartbeat"
).split()

_ADJECTIVES = (
    "loud,quiet,soft,distant,faint,muffled,clear,deep,high pitched,low,sudden,continuous,intermittent,repeated,slow,fast,"
    "rhythmic,distorted,echoing,noisy,gentle,harsh,shrill,heavy,light,big,small,old,broken,annoying,nearby,constant,sharp,"
    "dull,metallic,hollow,wooden,bright,dark,warm,rough,smooth,angry,happy,sad,excited,nervous,calm,single,several,many,"
    "two,three,first,second,other,male,female,young,left,right,main,lead,background,electronic,acoustic,live,recorded,"
    "vintage,low frequency,high frequency,rumbling,squeaky,crisp,wet,dry,reverberant,dramatic,funky,groovy,clean,fuzzy,"
    "steady,irregular,brief,long,short,outdoor,indoor,mechanical,human,animal,digital,synthetic,natural,strange,weird,"
    "scary,funny,soothing,busy,lonely,tiny,huge,wild,domestic,hoarse,whispered,drunk,british,american,french,spanish"
).split(",")
_ADVERBS = (
    "loudly,quietly,softly,slowly,quickly,repeatedly,continuously,in the distance,in the background,outside,indoors,nearby,"
    "far away,on the left,on the right,at night,in the morning,in a forest,in a room,in a hall,in the street,on the street,"
    "in the rain,on a beach,in a park,in the kitchen,over music,over the music,behind the wall,behind a door,underwater,"
    "with reverb,with echo,with distortion,through a megaphone,on the radio,on tv,over the phone,on gravel,on wood,on metal,"
    "at the start,at the end,in the middle,at the beginning,all the time,twice,once,several times,again and again,together,"
    "alone,at once,from afar,up close,at a concert,in a stadium,at a party,in a church,in an office,in a crowd,in a car,"
    "in stereo,rhythmically,gently,violently,angrily,happily,excitedly,suddenly,faintly,on stage,in the studio,in traffic"
).split(",")
_GENRES = (
    "rock,jazz,blues,classical,hip hop,techno,house,country,folk,metal,punk,reggae,funk,soul,disco,ambient,trap,salsa,"
    "flamenco,bluegrass,gospel,opera,pop,dubstep,drum and bass,lo-fi,swing,bossa nova,k-pop,indie,edm,trance,orchestral,"
    "cinematic,medieval,celtic,indian,african,chinese,arabic,latin,polka,ska,grunge,heavy metal,rap,r&b,synthwave,chiptune"
).split(",")
_MUSICAL = ("riff,solo,loop,chords,melody,part,track,stem,line,groove,notes,licks,harmony,fill,intro,sample,arpeggios,"
            "section,performance,playing,improvisation,accompaniment").split(",")
_MUSIC_KEYS = {"play", "sing", "beat"}

# {n} noun, {a} noun with a or an, {p} plural, {g} -ing form, {s} third person, {j} adjective, {v} adverb or place
_BARE = [
    ("{n}", 9), ("{a}", 5), ("the {n}", 5), ("{p}", 5), ("the {p}", 3), ("some {p}", 1), ("{j} {n}", 6), ("a {j} {n}", 3),
    ("the {j} {n}", 2), ("{j} {p}", 2), ("{n} {v}", 3), ("{a} {v}", 3), ("{j} {n} {v}", 1), ("{n} sound", 2),
    ("{n} sounds", 1), ("{n} noise", 2), ("{n} noises", 1), ("sound of {a}", 2), ("the sound of {p}", 2), ("sounds of {p}", 1),
    ("sound of the {n}", 1), ("noise of {a}", 1), ("{n} sound effect", 1), ("recording of {a}", 1), ("just the {n}", 2),
    ("only the {n}", 2), ("only {p}", 1), ("everything but the {n}", 2), ("everything except the {n}", 1),
    ("all but the {n}", 1), ("without the {n}", 1), ("no {n}", 1), ("remove the {n}", 2), ("remove {p}", 1), ("isolate the {n}", 2),
    ("extract the {n}", 1), ("keep the {n}", 1), ("mute the {n}", 1), ("the {n} only", 1), ("{n} only", 1), ("{n} and {m}", 3),
    ("{a} and {b}", 1), ("{n}, {m}", 1), ("{n} with {m}", 1), ("{n} or {m}", 1), ("{p} and {m}", 1), ("i want the {n}", 1),
    ("something like {a}", 1), ("{n} in the mix", 1), ("{n} stem", 1), ("{n} track", 1), ("all {p}", 1), ("every {n}", 1),
    ("my {n}", 1), ("his {n}", 1), ("that {n}", 1), ("{n} audio", 1), ("{j} {n} sound", 1), ("there is {a}", 1),
    ("you can hear {a}", 1), ("{n} close to the microphone", 1), ("{a} in the background", 2), ("the {n} in the background", 1),
]
_ACTING = [
    ("{n} {g}", 9), ("{a} {g}", 7), ("the {n} {g}", 4), ("{p} {g}", 5), ("{g} {n}", 4), ("a {g} {n}", 3), ("the {g} {n}", 2),
    ("{g} {p}", 2), ("{n} {s}", 3), ("{a} {s}", 4), ("the {n} {s}", 2), ("{g}", 1), ("{j} {g}", 2), ("{j} {n} {g}", 3),
    ("a {j} {n} {g}", 4), ("{n} {g} {v}", 6), ("{a} {g} {v}", 6), ("the {n} {g} {v}", 3), ("{p} {g} {v}", 4), ("{a} {s} {v}", 3),
    ("sound of {a} {g}", 3), ("the sound of {a} {g}", 2), ("{g} sound", 1), ("{g} of {a}", 1), ("{g} {v}", 1), ("{n} is {g}", 1),
    ("the {n} is {g}", 1), ("{p} are {g} {v}", 1), ("{a} is {g} and {m} {v}", 1), ("{a} {g} while {b} {h}", 4),
    ("{a} {g} and {b} {h}", 3), ("{n} {g} then {m} {h}", 2), ("someone hears {a} {g}", 1), ("remove the {n} {g}", 1),
    ("everything but the {g}", 1), ("{n} {g} over {m}", 1), ("{a} that is {g}", 1), ("{n} that {s}", 1), ("{g} {n} {v}", 3),
    ("{a} {s} and {r}", 2), ("{a} {s} as {b} {t}", 2), ("{g} and {h}", 1), ("{n} {g} {j}", 1), ("a {j} {g} {n}", 1),
]
_MUSIC = [
    ("{k} {n}", 4), ("{n} {x}", 6), ("{k} {n} {x}", 3), ("a {n} {x}", 3), ("the {n} {x}", 2), ("{j} {n} {x}", 3), ("{k} music", 1),
    ("{k} {x}", 1), ("{k} song with {n}", 1), ("someone playing the {n}", 2), ("someone playing {a}", 1), ("{n} player", 1),
    ("man playing the {n}", 1), ("{n} music", 2), ("{n} being played", 1), ("playing the {n}", 2), ("{n} {x} {v}", 2),
    ("{n} in a {k} band", 1), ("{k} drums and {n}", 1), ("the {n} playing {k} {x}", 1),
]  # fmt: skip


@dataclass(frozen=True)
class Source:
    """One thing that makes a sound, and the verbs for what it does."""

    noun: str
    verbs: tuple[str, ...]


@dataclass
class Corpus:
    """Unique phrases; `sound[i]` says whether phrase i is about a sound; `typos` are (index, misspelt text)."""

    phrases: list[str]
    sound: list[bool]
    typos: list[tuple[int, str]]


@cache
def sources() -> tuple[Source, ...]:
    """The sound sources of the word lists, in order, each once."""
    found: dict[str, Source] = {}
    for line in _SOURCES.strip().splitlines():
        nouns, verbs = (tuple(word.strip() for word in part.split(",")) for part in line.split(":"))
        for noun in nouns:
            found.setdefault(noun, Source(noun, verbs))
    return tuple(found.values())


def sound_phrases(count: int, seed: int = 0) -> list[str]:
    """Draws `count` distinct phrases of the kind people type for a sound."""
    rng = random.Random(seed)
    pools = [([t for t, _ in pool], [w for _, w in pool]) for pool in (_BARE, _ACTING, _MUSIC)]
    known = sources()
    phrases: dict[str, None] = {}
    while len(phrases) < count:
        source, other = rng.choice(known), rng.choice(known)
        musical = bool(_MUSIC_KEYS & set(source.verbs)) and "laugh" not in source.verbs
        templates, weights = pools[rng.choices((0, 1, 2), (3, 5, 2 if musical else 0))[0]]
        template = rng.choices(templates, weights)[0]
        phrases[_fill(template, source, other, rng)] = None
    return list(phrases)


def _fill(template: str, source: Source, other: Source, rng: random.Random) -> str:
    verb, verb2 = rng.choice(source.verbs), rng.choice(source.verbs)
    other_verb = rng.choice(other.verbs)
    text = template.format(
        n=source.noun, a=with_article(source.noun), p=plural(source.noun), m=other.noun, b=with_article(other.noun),
        g=ing(verb), h=ing(other_verb), s=third_person(verb), r=third_person(verb2), t=third_person(other_verb),
        j=rng.choice(_ADJECTIVES), v=rng.choice(_ADVERBS), k=rng.choice(_GENRES), x=rng.choice(_MUSICAL),
    )  # fmt: skip
    return re.sub(r"\ba ((?:a|e|i|o|u(?!ni|ku))\w)", r"an \1", text)


def with_article(noun: str) -> str:
    """The noun with its indefinite article; plurals and masses keep none."""
    if noun.endswith("s") and not noun.endswith(("ss", "bus", "bass", "glass")):
        return noun
    return f"{'an' if noun[0] in 'aeio' or noun.startswith('umbr') else 'a'} {noun}"


def plural(noun: str) -> str:
    """The plural of a noun, by the common rules."""
    irregular = {"man": "men", "woman": "women", "mouse": "mice", "goose": "geese", "wolf": "wolves", "calf": "calves",
                 "ox": "oxen", "sheep": "sheep", "deer": "deer", "child": "children", "knife": "knives",
                 "person": "people", "hoof": "hooves", "moose": "moose", "leaf": "leaves"}  # fmt: skip
    head, _, last = noun.rpartition(" ")
    if last in irregular:
        last = irregular[last]
    elif last.endswith("s") and not last.endswith(("ss", "bus")):
        pass
    elif last.endswith(("ss", "x", "ch", "sh", "bus")):
        last += "es"
    elif last.endswith("y") and last[-2] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{head} {last}".strip()


_DOUBLED = {"hum", "clap", "flap", "yap", "drip", "tap", "strum", "chug", "pop", "drop", "snap", "zip", "cut", "chop", "hit",
            "run", "trot", "scrub", "sob", "rap", "stop", "skid", "lap", "rev", "dig", "spin", "strut", "zap", "rim"}  # fmt: skip


def ing(verb: str) -> str:
    """The -ing form of a verb; what follows the first word ("pass by") stays."""
    first, _, rest = verb.partition(" ")
    if first in _DOUBLED:
        first += first[-1]
    elif first.endswith("e") and not first.endswith(("ee", "oe", "ye")):
        first = first[:-1]
    return f"{first}ing {rest}".strip()


def third_person(verb: str) -> str:
    """The third person of a verb: bark, barks; cry, cries."""
    first, _, rest = verb.partition(" ")
    if first.endswith(("s", "x", "ch", "sh", "z")):
        first += "es"
    elif first.endswith("y") and first[-2] not in "aeiou":
        first = first[:-1] + "ies"
    else:
        first += "s"
    return f"{first} {rest}".strip()


def misspell(text: str, rng: random.Random) -> str:
    """Swaps, drops, doubles or replaces one letter inside a word of four letters or more."""
    places = [m.start() + i for m in re.finditer(r"[a-z]{4,}", text) for i in range(1, len(m.group()) - 1)]
    if not places:
        return text
    at = rng.choice(places)
    kind = rng.randrange(4)
    if kind == 0:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if kind == 1:
        return text[:at] + text[at + 1 :]
    if kind == 2:
        return text[:at] + text[at] + text[at:]
    return text[:at] + rng.choice("aeiounrstl") + text[at + 1 :]


def wordnet_phrases(package: Path, longest: int = 12) -> Iterator[str]:
    """Yields lemmas, and glosses and examples of up to `longest` words, from Debian's wordnet-base package."""
    for line in _wordnet_lines(package):
        head, _, gloss = line.partition(" | ")
        fields = head.split()
        for lemma in fields[4 : 4 + 2 * int(fields[3], 16) : 2]:
            yield re.sub(r"\((a|p|ip)\)$", "", lemma).replace("_", " ").lower()
        for part in re.findall(r'"([^"]+)"|([^;"]+)', gloss):
            text = re.sub(r"\([^)]*\)", "", "".join(part)).strip(" ;,.:'`\n").lower()
            if 2 <= len(text.split()) <= longest:
                yield re.sub(r"\s+", " ", text)


def _wordnet_lines(package: Path) -> Iterator[str]:
    import subprocess

    stream = subprocess.Popen(["dpkg", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
    assert stream.stdout is not None
    with tarfile.open(fileobj=stream.stdout, mode="r|") as archive:
        for member in archive:
            if re.search(r"/data\.(noun|verb|adj|adv)$", member.name):
                file = archive.extractfile(member)
                assert file is not None
                for line in file.read().decode("utf-8", "replace").splitlines():
                    if not line.startswith("  "):  # the licence at the top
                        yield line
    stream.wait()


def build_corpus(fixed: Iterable[str], wordnet: Path | None, sound: int, general: int, seed: int = 0) -> Corpus:
    """Joins the fixed phrases (class names, labels), drawn sound phrases and WordNet into one corpus.

    Args:
        fixed: phrases that must be in, all of them about sounds.
        wordnet: the wordnet-base package, or None to go without.
        sound, general: how many phrases to draw of each kind.
    """
    rng = random.Random(seed)
    kinds = {text.lower(): True for text in (*fixed, *sound_phrases(sound, seed)) if text.strip()}
    if wordnet is not None:
        lemmas: dict[str, None] = {}
        sentences: dict[str, None] = {}
        for text in wordnet_phrases(wordnet):
            # a lemma has at most three words; numbers and Latin species make up most of the longer ones
            (lemmas if len(text.split()) <= 3 else sentences)[text] = None
        short, long = list(lemmas), list(sentences)
        rng.shuffle(long)
        rng.shuffle(short)
        for text in (*short[: general * 6 // 10], *long[: general * 4 // 10]):
            kinds.setdefault(text, False)
    # a few thousand phrases with a held-out noun are enough to measure with
    phrases = [text for text in kinds if split_of(text) != "unseen" or _hash(text) % 4 == 0]
    about_sound = [kinds[text] for text in phrases]
    indices = rng.sample([i for i, is_sound in enumerate(about_sound) if is_sound], k=min(15_000, sum(about_sound)))
    typos = [(i, misspell(phrases[i], rng)) for i in indices]
    return Corpus(phrases, about_sound, [(i, text) for i, text in typos if text not in kinds])


_HELD_OUT = re.compile(r"\b(" + "|".join(HELD_OUT_NOUNS) + r")(s|es)?\b")


def split_of(phrase: str) -> str:
    """"unseen" for a held-out noun, "val" for 2 % of the rest by hash, else "train"."""
    if _HELD_OUT.search(phrase.lower()):
        return "unseen"
    return "val" if _hash(phrase) % 50 == 0 else "train"


def _hash(phrase: str) -> int:
    return int(hashlib.sha256(phrase.encode()).hexdigest()[:8], 16)

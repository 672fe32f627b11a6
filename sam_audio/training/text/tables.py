"""Word lists and templates that sound phrases are drawn from."""


def _words(listed: str) -> list[str]:
    """The words of a comma-separated list."""
    return [word.strip() for word in listed.split(",")]


# One line a group: "who: what they do", both comma-separated; verbs are base forms.
SOURCES = """
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
mouse, rat, squirrel, hamster, guinea pig, bat, rabbit, hedgehog, badger, raccoon: squeak, scurry, \
chitter, gnaw
bird, songbird, sparrow, robin, blackbird, nightingale, canary, finch, thrush, wren, lark, starling, \
warbler: chirp, sing, tweet, call, twitter, flap
crow, raven, magpie, jay: caw, croak, call
owl, pigeon, dove, cuckoo: hoot, coo, call, flap
duck, goose, swan, seagull, gull, penguin, pelican, heron, loon: quack, honk, squawk, call, flap
chicken, hen, rooster, turkey, peacock, chick: cluck, crow, gobble, cackle, peep
eagle, hawk, falcon, vulture, parrot, parakeet, woodpecker, kingfisher, hummingbird: screech, squawk, \
cry, peck, drum
frog, toad, tree frog, bullfrog: croak, ribbit, call, peep
cricket, cicada, grasshopper, katydid: chirp, buzz, sing, stridulate
bee, fly, mosquito, wasp, hornet, insect, beetle, dragonfly, bumblebee: buzz, hum, drone, fly
snake, rattlesnake, crocodile, alligator, lizard: hiss, rattle, growl
whale, dolphin, orca, seal, sea lion, walrus, otter: sing, click, whistle, bark, call
man, woman, boy, girl, child, kid, person, old man, old woman, young woman, teenager, toddler, narrator, \
presenter, announcer, speaker, teacher, news reader, politician, comedian, reporter, interviewer, guest, \
host: speak, talk, whisper, shout, scream, laugh, cry, sing, hum, cough, sneeze, yell, read aloud, \
breathe, mumble, sigh, snore, groan, giggle, sob, yawn, whistle, argue, chuckle, murmur, hiccup, gasp, \
cheer
baby, infant, newborn: cry, laugh, babble, giggle, coo, wail, scream
crowd, audience, group of people, children, fans, spectators, congregation, protesters: cheer, applaud, \
clap, chant, boo, laugh, talk, murmur, chatter, scream, whistle
singer, vocalist, choir, soprano, tenor, baritone, rapper, lead singer, backing singer, opera singer, \
duo, boy band: sing, harmonize, hum, rap, croon, belt, chant, yodel, improvise
guitar, acoustic guitar, electric guitar, bass guitar, classical guitar, ukulele, banjo, mandolin, lute, \
sitar, oud, twelve string guitar, slide guitar, steel guitar, distorted guitar, clean guitar, rhythm \
guitar, lead guitar: play, strum, pick, pluck, solo, chug, ring, distort
bass, double bass, upright bass, synth bass, slap bass, sub bass, bassline, fretless bass: play, groove, \
thump, rumble, walk, pluck
piano, grand piano, upright piano, electric piano, keyboard, organ, church organ, hammond organ, \
harpsichord, clavinet, celesta, accordion, harmonium, toy piano, synthesizer, synth, synth pad, synth \
lead, arpeggiator, mellotron: play, ring, chime, sustain, swell, solo
violin, viola, cello, fiddle, string quartet, string section, strings, harp, zither, koto, erhu, \
dulcimer, lyre: play, bow, pluck, swell, sing, solo
trumpet, trombone, tuba, french horn, cornet, flugelhorn, horn section, brass section, brass band, \
bugle, euphonium, sousaphone: play, blare, blow, sound, solo
flute, piccolo, clarinet, oboe, bassoon, saxophone, alto saxophone, tenor saxophone, recorder, tin \
whistle, pan flute, bagpipes, harmonica, ocarina, didgeridoo, kazoo, melodica, shakuhachi, english horn: \
play, blow, whistle, wail, drone, solo
drum, drum kit, drums, kick drum, snare drum, bass drum, tom, hi-hat, open hi-hat, closed hi-hat, \
cymbal, crash cymbal, ride cymbal, drum machine, drum loop, rimshot, floor tom, brushes, snare, kick, \
percussion: beat, hit, roll, pound, crash, thump, play, tap
bongos, congas, djembe, tabla, timpani, taiko, cajon, tambourine, maraca, shaker, cowbell, triangle, \
woodblock, castanets, claves, guiro, cabasa, steelpan, marimba, xylophone, vibraphone, glockenspiel, \
gong, tubular bells, kalimba, music box, handbell, timbales, hang drum, finger snaps, hand claps: play, \
ring, shake, strike, tap, rattle, tinkle, beat
orchestra, symphony orchestra, jazz band, rock band, marching band, big band, street musician, dj, \
ensemble: play, perform, rehearse, tune up, crescendo
lead vocals, backing vocals, background vocals, vocals, vocal, harmony vocals, ad libs, voice, voices, \
singing voice, beatboxing, chorus, scat: sing, harmonize, echo, layer, rap, soar
riff, melody, beat, loop, sample, solo, chord, arpeggio, intro, outro, hook, drop, breakdown, groove: \
play, repeat, build, fade
car, sports car, race car, taxi, old car, electric car, police car, van, pickup truck, jeep: drive by, \
accelerate, idle, brake, start, skid, honk, rev, pass by, crash
truck, lorry, bus, tractor, bulldozer, excavator, garbage truck, fire truck, tank, forklift, ambulance: \
drive by, rumble, idle, reverse, beep, brake, honk
motorcycle, motorbike, scooter, moped, dirt bike, go-kart, quad bike, snowmobile: rev, accelerate, idle, \
ride past, race
bicycle, skateboard, roller skates, shopping cart, wheelchair, pram: roll, squeak, clatter, ride past
train, steam train, subway train, freight train, tram, locomotive, railway: pass by, whistle, clatter, \
brake, rumble, chug, depart, arrive
airplane, jet, propeller plane, helicopter, fighter jet, drone, glider, airliner, rocket, hot air \
balloon: fly over, take off, land, hover, roar, launch, whir
boat, motorboat, ship, ferry, rowing boat, sailboat, submarine, jet ski, canoe: sail, creak, chug, sound \
its horn, float
engine, motor, diesel engine, car engine, generator, turbine, exhaust, compressor, pump, conveyor belt, \
gearbox: run, idle, rev, hum, start, stall, rattle, whir, sputter, rumble
car horn, foghorn, air horn, train horn, bicycle bell, truck horn, ship's horn: honk, blare, toot, \
sound, beep
siren, police siren, ambulance siren, alarm, fire alarm, smoke alarm, car alarm, burglar alarm, alarm \
clock, buzzer, air raid siren, smoke detector, carbon monoxide alarm, metal detector: wail, beep, ring, \
blare, sound, go off
phone, telephone, mobile phone, doorbell, bell, church bell, school bell, bicycle bell, wind chimes, cow \
bell, intercom, pager, ringtone, dial tone, notification: ring, chime, buzz, vibrate, toll, jingle, ding
clock, grandfather clock, wristwatch, metronome, timer, stopwatch, cuckoo clock: tick, chime, strike, \
tock
door, gate, car door, cupboard, drawer, garage door, window, floorboard, hinge, screen door: open, \
close, slam, creak, squeak, knock, rattle
footsteps, high heels, boots, running feet, shoes: approach, walk, run, crunch, echo, shuffle, stomp
rain, storm, thunder, thunderstorm, hail, rainfall, drizzle, snow, lightning: fall, pour, patter, \
rumble, crash, roll, clap, drip
wind, breeze, gale, hurricane, tornado, blizzard, leaves, trees, grass, branches, bamboo: blow, howl, \
rustle, whistle, gust, creak, sway
water, stream, river, waterfall, brook, fountain, tap, faucet, shower, bathtub, sink, drain, puddle, \
swimming pool: run, flow, drip, splash, gurgle, trickle, pour, bubble, gush
ocean, sea, wave, surf, lake, tide: crash, lap, roar, break, wash ashore
fire, campfire, fireplace, bonfire, wildfire, match, candle, lighter, torch: crackle, burn, roar, pop, \
ignite, hiss
earthquake, volcano, avalanche, rockslide, geyser, glacier, lava: rumble, erupt, crack, roar
gun, pistol, rifle, machine gun, shotgun, cannon, artillery, bomb, firework, firecracker, grenade, \
explosion, missile: fire, shoot, explode, bang, boom, pop, reload, blast
hammer, saw, hand saw, chainsaw, drill, electric drill, jackhammer, sander, grinder, angle grinder, nail \
gun, axe, screwdriver, wrench, anvil, file, lathe, power tool, circular saw, table saw, welder, pickaxe, \
shovel, ratchet: hammer, cut, drill, grind, whir, buzz, pound, scrape, dig, clank
lawn mower, leaf blower, hedge trimmer, sprinkler, rake, string trimmer, wood chipper: run, mow, buzz, \
blow, spray, whir
vacuum cleaner, washing machine, dishwasher, tumble dryer, hair dryer, blender, mixer, food processor, \
coffee machine, microwave oven, refrigerator, fan, air conditioner, electric shaver, toothbrush, \
electric toothbrush, sewing machine, boiler, heater, ceiling fan, extractor fan, kettle, toaster, \
juicer, coffee grinder: run, hum, whir, buzz, beep, spin, whistle, boil, vibrate, grind
dish, plate, glass, cup, bottle, cutlery, fork, spoon, knife, pot, pan, frying pan, bowl, tin can, jar, \
cork, tray, wine glass, chopping board: clink, clatter, break, shatter, rattle, clang, drop, scrape, \
pop, smash
food, steak, bacon, egg, popcorn, vegetables, oil, soup, apple, crisps, cereal, carrot: fry, sizzle, \
chop, boil, crunch, pop, chew, simmer
paper, newspaper, book, page, cardboard box, plastic bag, envelope, wrapping paper, foil, scissors, \
stapler, tape, pencil, pen, chalk, marker: rustle, crumple, tear, turn, fold, cut, scribble, write, \
scratch, squeak
computer, keyboard, computer keyboard, mouse click, typewriter, printer, dot matrix printer, hard drive, \
scanner, modem, laptop fan, server, cash register, camera, camera shutter, fax machine, photocopier, \
projector, game console, arcade machine, slot machine: type, click, clack, whir, print, beep, hum, boot \
up
radio, television, loudspeaker, megaphone, walkie-talkie, record player, tape recorder, podcast, \
turntable, answering machine, robot voice, voice assistant: play, crackle, hiss, static, talk, \
broadcast, scratch, hum
chain, key, coin, bunch of keys, zipper, lock, padlock, switch, light switch, button, lever, spring, \
screw, nail, metal pipe, metal sheet, bolt, handcuffs, wire, belt buckle: rattle, jingle, click, clank, \
clink, drop, snap, zip, turn
wood, log, stick, plank, rope, leather, chair, table, bed, staircase, ladder, swing, rocking chair, \
sofa: creak, crack, snap, squeak, break, knock, scrape, tap
ball, basketball, tennis ball, ping pong ball, golf club, baseball bat, bowling pins, billiard balls, \
dice, playing cards, boxing bag, trampoline, hockey stick, whip, bow and arrow, sword, football: bounce, \
hit, roll, clack, kick, whoosh, thud, shuffle, swish
toilet, flush, hand, finger, stomach, heart, heartbeat, knuckles, teeth, nose, lips, throat, breath, \
pulse: flush, gurgle, beat, crack, clap, snap, rumble, grind, thump, sniff, click
hum, hiss, static, white noise, pink noise, feedback, mains hum, crackle, buzz, click, pop, glitch, \
beep, tone, sine wave, dial tone, electrical interference, tape hiss, vinyl crackle, room tone, reverb, \
echo, distortion, noise, microphone bump, plosive, mouth click, rustle, handling noise, sub rumble, \
whine: persist, fade, buzz, hum, hiss, swell
traffic, city street, restaurant, office, airport, train station, playground, supermarket, factory, \
construction site, forest, jungle, beach, farm, market, stadium, classroom, hospital, kitchen, harbour, \
pub, cafe, church, gym, cave, swimming hall, casino, concert hall, train carriage, shopping mall, \
library, garden: hum, bustle, rumble, echo, buzz
laser, spaceship, robot, monster, ghost, alien, zombie, dragon, magic spell, teleporter, video game, \
cartoon, sound effect, whoosh, riser, impact, boing, splat, dragon, dinosaur, power up, coin pickup, \
jump: zap, beep, growl, moan, roar, hum, whoosh, sparkle, bounce, sound
speech, conversation, interview, narration, commentary, dialogue, lecture, laughter, applause, cheering, \
screaming, whispering, shouting, crying, coughing, sneezing, breathing, snoring, chewing, gargling, \
burping, farting, whistling, humming, clapping, stamping, chanting, prayer, sermon, argument, gossip, \
phone call, voice over, audiobook, story, small talk, chatter, babble, walla: continue, fade, echo, \
start, stop, interrupt
music, background music, song, instrumental, soundtrack, jingle, lullaby, anthem, hymn, concert, ambient \
music, karaoke, theme tune, elevator music, game music, film score, christmas carol, wedding music: \
play, loop, fade, start, stop, swell
"""

# Every phrase with one of these words is kept out of training, so that they measure what the student does
# with new nouns.
HELD_OUT_NOUNS = _words(
    "seal, goat, hyena, walrus, cuckoo, woodpecker, cicada, rattlesnake, kitten, hippopotamus, banjo, "
    "oboe, tuba, bassoon, harpsichord, xylophone, tambourine, kazoo, ukulele, trombone, tractor, "
    "snowmobile, ferry, submarine, tram, foghorn, metronome, doorbell, typewriter, stapler, jackhammer, "
    "blender, toaster, kettle, sewing, popcorn, waterfall, avalanche, cannon, firecracker, zipper, "
    "skateboard, billiard, heartbeat"
)

ADJECTIVES = _words(
    "loud, quiet, soft, distant, faint, muffled, clear, deep, high pitched, low, sudden, continuous, "
    "intermittent, repeated, slow, fast, rhythmic, distorted, echoing, noisy, gentle, harsh, shrill, "
    "heavy, light, big, small, old, broken, annoying, nearby, constant, sharp, dull, metallic, hollow, "
    "wooden, bright, dark, warm, rough, smooth, angry, happy, sad, excited, nervous, calm, single, "
    "several, many, two, three, first, second, other, male, female, young, left, right, main, lead, "
    "background, electronic, acoustic, live, recorded, vintage, low frequency, high frequency, rumbling, "
    "squeaky, crisp, wet, dry, reverberant, dramatic, funky, groovy, clean, fuzzy, steady, irregular, "
    "brief, long, short, outdoor, indoor, mechanical, human, animal, digital, synthetic, natural, "
    "strange, weird, scary, funny, soothing, busy, lonely, tiny, huge, wild, domestic, hoarse, whispered, "
    "drunk, british, american, french, spanish"
)
ADVERBS = _words(
    "loudly, quietly, softly, slowly, quickly, repeatedly, continuously, in the distance, in the "
    "background, outside, indoors, nearby, far away, on the left, on the right, at night, in the morning, "
    "in a forest, in a room, in a hall, in the street, on the street, in the rain, on a beach, in a park, "
    "in the kitchen, over music, over the music, behind the wall, behind a door, underwater, with reverb, "
    "with echo, with distortion, through a megaphone, on the radio, on tv, over the phone, on gravel, on "
    "wood, on metal, at the start, at the end, in the middle, at the beginning, all the time, twice, "
    "once, several times, again and again, together, alone, at once, from afar, up close, at a concert, "
    "in a stadium, at a party, in a church, in an office, in a crowd, in a car, in stereo, rhythmically, "
    "gently, violently, angrily, happily, excitedly, suddenly, faintly, on stage, in the studio, in "
    "traffic"
)
GENRES = _words(
    "rock, jazz, blues, classical, hip hop, techno, house, country, folk, metal, punk, reggae, funk, "
    "soul, disco, ambient, trap, salsa, flamenco, bluegrass, gospel, opera, pop, dubstep, drum and bass, "
    "lo-fi, swing, bossa nova, k-pop, indie, edm, trance, orchestral, cinematic, medieval, celtic, "
    "indian, african, chinese, arabic, latin, polka, ska, grunge, heavy metal, rap, r&b, synthwave, "
    "chiptune"
)
MUSICAL = _words(
    "riff, solo, loop, chords, melody, part, track, stem, line, groove, notes, licks, harmony, fill, "
    "intro, sample, arpeggios, section, performance, playing, improvisation, accompaniment"
)

# Templates and their weights: {n} noun, {a} with an article, {p} plural; {m} other noun, {b} with an article;
# {g} verb in -ing, {s} in the third person; {h} and {t} the same of the other noun; {r} another verb in the
# third person; {j} adjective, {v} adverb or place, {k} genre, {x} musical part.
BARE = [
    ("{n}", 9),
    ("{a}", 5),
    ("the {n}", 5),
    ("{p}", 5),
    ("the {p}", 3),
    ("some {p}", 1),
    ("{j} {n}", 6),
    ("a {j} {n}", 3),
    ("the {j} {n}", 2),
    ("{j} {p}", 2),
    ("{n} {v}", 3),
    ("{a} {v}", 3),
    ("{j} {n} {v}", 1),
    ("{n} sound", 2),
    ("{n} sounds", 1),
    ("{n} noise", 2),
    ("{n} noises", 1),
    ("sound of {a}", 2),
    ("the sound of {p}", 2),
    ("sounds of {p}", 1),
    ("sound of the {n}", 1),
    ("noise of {a}", 1),
    ("{n} sound effect", 1),
    ("recording of {a}", 1),
    ("just the {n}", 2),
    ("only the {n}", 2),
    ("only {p}", 1),
    ("everything but the {n}", 2),
    ("everything except the {n}", 1),
    ("all but the {n}", 1),
    ("without the {n}", 1),
    ("no {n}", 1),
    ("remove the {n}", 2),
    ("remove {p}", 1),
    ("isolate the {n}", 2),
    ("extract the {n}", 1),
    ("keep the {n}", 1),
    ("mute the {n}", 1),
    ("the {n} only", 1),
    ("{n} only", 1),
    ("{n} and {m}", 3),
    ("{a} and {b}", 1),
    ("{n}, {m}", 1),
    ("{n} with {m}", 1),
    ("{n} or {m}", 1),
    ("{p} and {m}", 1),
    ("i want the {n}", 1),
    ("something like {a}", 1),
    ("{n} in the mix", 1),
    ("{n} stem", 1),
    ("{n} track", 1),
    ("all {p}", 1),
    ("every {n}", 1),
    ("my {n}", 1),
    ("his {n}", 1),
    ("that {n}", 1),
    ("{n} audio", 1),
    ("{j} {n} sound", 1),
    ("there is {a}", 1),
    ("you can hear {a}", 1),
    ("{n} close to the microphone", 1),
    ("{a} in the background", 2),
    ("the {n} in the background", 1),
]
ACTING = [
    ("{n} {g}", 9),
    ("{a} {g}", 7),
    ("the {n} {g}", 4),
    ("{p} {g}", 5),
    ("{g} {n}", 4),
    ("a {g} {n}", 3),
    ("the {g} {n}", 2),
    ("{g} {p}", 2),
    ("{n} {s}", 3),
    ("{a} {s}", 4),
    ("the {n} {s}", 2),
    ("{g}", 1),
    ("{j} {g}", 2),
    ("{j} {n} {g}", 3),
    ("a {j} {n} {g}", 4),
    ("{n} {g} {v}", 6),
    ("{a} {g} {v}", 6),
    ("the {n} {g} {v}", 3),
    ("{p} {g} {v}", 4),
    ("{a} {s} {v}", 3),
    ("sound of {a} {g}", 3),
    ("the sound of {a} {g}", 2),
    ("{g} sound", 1),
    ("{g} of {a}", 1),
    ("{g} {v}", 1),
    ("{n} is {g}", 1),
    ("the {n} is {g}", 1),
    ("{p} are {g} {v}", 1),
    ("{a} is {g} and {m} {v}", 1),
    ("{a} {g} while {b} {h}", 4),
    ("{a} {g} and {b} {h}", 3),
    ("{n} {g} then {m} {h}", 2),
    ("someone hears {a} {g}", 1),
    ("remove the {n} {g}", 1),
    ("everything but the {g}", 1),
    ("{n} {g} over {m}", 1),
    ("{a} that is {g}", 1),
    ("{n} that {s}", 1),
    ("{g} {n} {v}", 3),
    ("{a} {s} and {r}", 2),
    ("{a} {s} as {b} {t}", 2),
    ("{g} and {h}", 1),
    ("{n} {g} {j}", 1),
    ("a {j} {g} {n}", 1),
]
MUSIC = [
    ("{k} {n}", 4),
    ("{n} {x}", 6),
    ("{k} {n} {x}", 3),
    ("a {n} {x}", 3),
    ("the {n} {x}", 2),
    ("{j} {n} {x}", 3),
    ("{k} music", 1),
    ("{k} {x}", 1),
    ("{k} song with {n}", 1),
    ("someone playing the {n}", 2),
    ("someone playing {a}", 1),
    ("{n} player", 1),
    ("man playing the {n}", 1),
    ("{n} music", 2),
    ("{n} being played", 1),
    ("playing the {n}", 2),
    ("{n} {x} {v}", 2),
    ("{n} in a {k} band", 1),
    ("{k} drums and {n}", 1),
    ("the {n} playing {k} {x}", 1),
]

# A source that does one of these gets the MUSIC templates as well.
MUSIC_KEYS = {"play", "sing", "beat"}

"""The label table: what every recording of the manifest is, and how people ask for it.

The table itself is the product's (`sam_audio.vocabulary`). ``canonical`` brings the manifest's labels, which
were derived from file names, to canonical ones, and drops what is mislabelled or cannot be told by name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache

from sam_audio.vocabulary import load_labels

GROUPS = ("event", "speech", "singing", "instrument", "music", "ambience")


@cache
def hypernyms() -> tuple[str, ...]:
    """All words for kinds of sounds that are not labels themselves, in a fixed order."""
    table = load_labels()
    return tuple(sorted({parent for label in table.values() for parent in label.parents} - set(table)))


@cache
def members(term: str) -> frozenset[str]:
    """The labels a term stands for: a label itself, or all labels of a group or under a hypernym."""
    table = load_labels()
    if term in table:
        return frozenset([term])
    if term in GROUPS:
        return frozenset(name for name, label in table.items() if label.group == term)
    return frozenset(name for name, label in table.items() if term in label.parents)


# ---- phrases -------------------------------------------------------------------------------------------

_TEMPLATES = {
    "event": ("the {}", "sound of {}", "{} sound", "{} noise", "{} in the background"),
    "ambience": ("the {}", "sound of {}", "{} sound", "{} in the background"),
    "speech": ("the {}", "sound of a {}", "a {} in the background"),
    "singing": ("the {}", "sound of {}", "{} in the background"),
    "instrument": ("the {}", "sound of {}", "{} playing", "{} sound", "{} solo", "someone playing {}"),
    "music": ("the {}", "sound of {}"),
}
_ALREADY_A_SOUND = ("sound", "noise", "noises", "ambience")
_SPEAKING = re.compile(r"(person|man|woman|cartoon voice) speaking\b.*")


def natural_phrases(label: str) -> list[str]:
    """The table's phrases and the systematic ones, in lower case."""
    entry = load_labels()[label]
    phrases = list(entry.phrases)
    for template in _TEMPLATES[entry.group]:
        if template[3:] in ("sound", "noise") and label.endswith(_ALREADY_A_SOUND):
            continue
        phrases.append(template.format(label))
    return list(dict.fromkeys(phrase.lower() for phrase in phrases))


# ---- ambiguity -----------------------------------------------------------------------------------------


@cache
def _conflict_table() -> dict[str, frozenset[str]]:
    table = load_labels()
    rivals: dict[str, set[str]] = {name: {name} for name in table}
    for name, label in table.items():
        found = {other for term in label.confusable for other in members(term)}
        for phrase in label.phrases:  # "person speaking" is a hypernym of "man speaking"
            found |= {other for other, entry in table.items() if phrase in entry.parents}
        for other in found:
            rivals[name].add(other)
            rivals[other].add(name)
    return {name: frozenset(others) for name, others in rivals.items()}


def conflicts(label_a: str, label_b: str) -> bool:
    """True when a prompt for one would be ambiguous while the other sounds too."""
    return label_b in _conflict_table()[label_a]


# What may well be heard inside a recording of these, though it is not in their name.
_MAY_CONTAIN: Mapping[str, tuple[str, ...]] = {
    "background music": ("instrument", "singing", "music", "whistling", "hand clap", "finger snap"),
    "boat": ("water", "seagull calling", "bell", "wind blowing", "squeaky noises"),
    "cafe ambience": ("speech", "human sounds", "kitchen sounds", "music", "singing", "household sounds"),
    "children playing": ("human sounds", "speech", "singing", "footsteps", "ball bouncing", "bird"),
    "crowd cheering": ("human sounds", "speech", "singing", "whistling", "horn", "drums"),
    "crowd noise": ("human sounds", "speech", "singing", "music", "whistling", "footsteps", "coins clinking"),
    "drum kit": ("percussion",),
    "explosion": ("crash", "fire crackling", "earth rumbling", "thud"),
    "farm animals": ("animal sounds", "truck engine", "wind blowing"),
    "fire crackling": ("wind blowing", "crickets chirping"),
    "forest ambience": ("animal sounds", "water", "wind blowing", "nature sounds", "footsteps"),
    "hammering": ("construction noise", "metallic sounds"),
    "indoor room ambience": ("human sounds", "speech", "machine sounds", "household sounds", "footsteps"),
    "machine running": ("machine sounds", "steam hissing", "engine", "metallic sounds", "impact sounds"),
    "ocean waves": ("water", "bird", "wind blowing"),
    "outdoor ambience": ("animal sounds", "nature sounds", "water", "human sounds", "vehicle", "bells"),
    "rain falling": ("water", "weather"),
    "river flowing": ("water", "bird"),
    "road traffic": ("vehicle", "siren", "human sounds", "wind blowing"),
    "roller coaster": ("human sounds", "metallic sounds", "crowd"),
    "sword clash": ("whoosh", "metallic sounds", "impact sounds"),
    "synthesizer": ("electronic instrument", "electronic sounds", "keyboards", "string ensemble"),
    "thunderstorm": ("water", "weather"),
    "town ambience": (
        "human sounds",
        "speech",
        "animal sounds",
        "vehicle",
        "bells",
        "tools",
        "water",
        "music",
    ),
    "train passing": ("train", "vehicle", "metallic sounds", "steam hissing", "bells"),
    "waterfall": ("water",),
}


@cache
def _contents() -> dict[str, frozenset[str]]:
    return {
        scene: frozenset(name for term in terms for name in members(term))
        for scene, terms in _MAY_CONTAIN.items()
    }


def absent_ok(prompt_label: str, present_labels: Iterable[str]) -> bool:
    """True when ``prompt_label`` surely does not sound in a mixture of ``present_labels``."""
    return not any(
        conflicts(prompt_label, present) or prompt_label in _contents().get(present, ())
        for present in present_labels
    )


# ---- from the manifest ---------------------------------------------------------------------------------

_SYNONYMS = {
    **dict.fromkeys(
        (
            "footsteps on grass",
            "footsteps on gravel",
            "footsteps on concrete",
            "footsteps on dirt",
            "footsteps on stone",
            "footsteps on metal",
            "footsteps on a wooden floor",
            "footsteps in water",
        ),
        "footsteps",
    ),
    "car engine starting": "car engine",
    "car alarm": "alarm",
    "ceramic breaking": "crash",
    "wood smashing": "crash",
    "bricks falling": "crash",
    "banging on a door": "wood knock",
    "hacksaw sawing": "sawing wood",
    "window closing": "door closing",
    "gate closing": "door closing",
    "clutterstatic": "static noise",
    "techno sequence": "synthesizer",
    "roland circuit": "synthesizer",
    "falling gliss analog": "synthesizer",
    "anklung": "angklung",
    "anklung scale": "angklung",
    "group anklung long": "angklung",
    "birdsinapark": "bird singing",
    "forest soundscape with birds": "forest ambience",
    "jungle ambience": "forest ambience",
    "fire burning": "fire crackling",
    "bolt jingle": "metal jingling",
    "tinklingchain long": "metal jingling",
    "tinklingchain short": "metal jingling",
    "brassbowlhit": "singing bowl",
    "bubblewrap": "bubble wrap popping",
    "carboardbox": "cardboard rustling",
    "cardboard": "cardboard rustling",
    "cut cardboard": "cardboard rustling",
    "cutting cardboard": "cardboard rustling",
    "cd spin": "spinning object",
    "glas spin": "spinning object",
    "spinningpin": "spinning object",
    "spinningplate": "spinning object",
    "spinningroll": "spinning object",
    "ceramictile": "ceramic clinking",
    "cheek flaps": "mouth noises",
    "mouth loop": "mouth noises",
    "mouthnoises": "mouth noises",
    "tongue flutter": "mouth noises",
    "chimesmajsixth": "chimes",
    "chimesmajthird": "chimes",
    "chimesshortphrase": "chimes",
    "clang": "metal clang",
    "clang 1a": "metal clang",
    "clang 1b": "metal clang",
    "clang 1c": "metal clang",
    "clang 2a": "metal clang",
    "clangs": "metal clang",
    "drymetalhit": "metal clang",
    "highfreqmetal bars": "metal clang",
    "loudmetal bars": "metal clang",
    "softmetal bars": "metal clang",
    "moremetal": "metal clang",
    "electric sharpener": "pencil sharpener",
    "grill top slide": "scraping",
    "grinding lids": "scraping",
    "shortscrape": "scraping",
    "hydraulic hiss": "steam hissing",
    "khaen honk": "khaen",
    "khaen lo": "khaen",
    "knifesharpener": "knife sharpening",
    "map jiggle": "paper crinkling",
    "moremarbles": "marbles rolling",
    "mortar pestle": "mortar and pestle",
    "pillrattle": "plastic rattle",
    "smalltemplebell": "bell",
    "tinybell": "bell",
    "taps": "tapping",
    "taps 1a": "tapping",
    "taps 1c": "tapping",
    "up stairs": "footsteps",
    "wind up long": "wind-up toy",
    "wind up toy": "wind-up toy",
    "windup toy": "wind-up toy",
}

# Corrections by file, for the packages whose file names can be read: label -> (pattern, canonical or None to
# drop), the first that matches counts. An empty pattern at the end drops whatever the rules above leave.
_BY_PATH: Mapping[str, tuple[tuple[str, str | None], ...]] = {
    "airplane engine": ((r"bomb_falling", None),),
    "alarm": ((r"dialog-warning|Sys-Warning", "notification sound"),),
    "arrow shot": ((r"arrow_wall|jav_attack", None), (r"-miss", "whoosh")),
    "background music": (
        (r"we_ve_advanced", "person speaking"),
        (
            r"fillets-ng/sound/(?!music/[^/]+$)|wind_ambient|colobot/sounds|sequencer/|kart/data/sfx|1-up",
            None,
        ),
        (r"elf-land|fillets-ng/sound/music/(en|cs|nl)/|voc-boss|leveldone", None),
    ),
    "ball bouncing": ((r"gnu_|grenade", None),),
    "bat squeaking": ((r"fillets|flapping", None),),
    "bell": (
        (r"RideBell", "cymbal"),
        (r"Dununba|Kenkeni|Sangban|Agogo", "cowbell"),
        (r"(freedesktop|Yaru)/stereo/bell", "notification sound"),
        (r"beats_06|bell_choir|pingus", None),
    ),
    "bird singing": ((r"nandou|firebird|/emu\b|_flying", None),),
    "boat": ((r"ships_bell", "bell"),),
    "button click": ((r"fillets", None),),
    "camera shutter": ((r"security_camera|camera_focus", None),),
    "car engine": (
        (r"searchandrescue", "helicopter"),
        (r"flightgear/(Sounds/engine-prop|Aircraft)", "airplane engine"),
        (r"backfire|alien|tuxmath|road-ride", None),
    ),
    "clock ticking": ((r"alarm-clock|Alarm clock", "alarm"),),
    "coins clinking": ((r"supertux2|arcade", None),),
    "crash": ((r"cymbal_crash|lmms/samples/drums", "cymbal"), (r"bottom_crash", "thud")),
    "cymbal": ((r"ride_of_the_valkyries", "background music"), (r"sizzle|beats_0", None)),
    "door closing": ((r"door_bump", "thud"),),
    "drum kit": (
        (r"(?i)emptySample|/click\.|Waterglass|_ambi|beats_0\d|[xy]FX|EE_(Click|Drum)|VP (Click|Drum)", None),
        (r"(?i)splash|crash|/cc\d|/cra_|China|/CB2?_", "cymbal"),
        (r"(?i)djembe|cajon", "hand drum"),
        (r"(?i)rim|/rs\d|stick", "snare drum"),
        (r"EE_Hat|rave_hihat", "hi-hat"),
        (r"EE_Kick|rave_kick", "kick drum"),
        (r"rave_snare", "snare drum"),
        (r"loop_(3d|compus|drone|electric|garzul|industrial|mika|safari|weirdo)|stomachache", None),
        (r"tool_breaks|sfx/break|sound-icons|branch_break", None),
    ),
    "eagle screeching": ((r"eagle_fly", None),),
    "electric fan": ((r"turbojet", "airplane engine"),),
    "electronic beep": (
        (r"elec_\w*snare", "snare drum"),
        (r"elec_\w*kick", "kick drum"),
        (r"elec_\w*tom", "tom drum"),
        (r"elec_cymbal", "cymbal"),
        (r"elec_(?!beep|blip|blup|ping|plip|twip)", None),
    ),
    "explosion": (
        (r"(?i)disco_grenade|water-blast|fuze|ignite|gunpowder|festivox|GotInto|bubblegum|/acid", None),
        (r"grenade-pin|(laser|ptl)-blast|reload|nuclearloop|arcade/|openssn", None),
    ),
    "fire crackling": ((r"torch", None),),
    "fire burning": (
        (
            r"noises/fire|fire_fire|sounds/fire\.|sounds/flame\.|world/fire|ambience/fire|wicker_fire",
            "fire crackling",
        ),
        (r"", None),
    ),
    "footsteps": ((r"stomp", "thud"),),
    "frog croaking": ((r"frog_music", None),),
    "glass clinking": ((r"magnifying", None), (r"Glass marimba", "marimba")),
    "gunshot": (
        (r"(?i)reload", "gun reloading"),
        (r"(?i)bodyimpact|bullet-impact|laser|plasma|reflected|needler|gauss|flechette|bolter|staple", None),
    ),
    "hammering": ((r"nail|lomiri|create_construction", None),),
    "hand drum": ((r"(?i)bongo", "bongos"), (r"(?i)conga", "congas"), (r"cuica|wardrums", None)),
    "harpsichord": ((r"drums/clav", None),),
    "helicopter": ((r"screech|skid|stall", None),),
    "hi-hat": ((r"fxshake|beats_0", None),),
    "horn": ((r"supertuxkart", "car horn"), (r"qabcs", None)),
    "horse neighing": ((r"rocking_horse|horse_attack", None),),
    "indoor room ambience": ((r"", None),),
    "insect buzzing": ((r"orni_fly|airship_fly|dragon_fly|sword-fly", None),),
    "keyboard typing": ((r"qabcs", None),),
    "kick drum": ((r"tbd_|supertux2|zgump|beats_0", None),),
    "kitchen appliance": ((r"toaster", None),),
    "laser zap": ((r"reload|lasersight|lmms", None),),
    "lion roaring": ((r"sea_lion", "sea lion barking"),),
    "machine gun": ((r"reload", "gun reloading"),),
    "machine running": ((r"steam", "steam hissing"), (r"machine_walk|destroyed|drone|furnace", None)),
    "metal clang": (
        (r"LrgCan|MedCan", "cannon fire"),
        (r"step_metal|footsteps/", "footsteps"),
        (r"(?i)trash-|inventory", None),
    ),
    "notification sound": ((r"production_run", "person speaking"), (r"arcade", None)),
    "oboe": ((r"dulzaina|zhaleyka|zurna", None),),
    "ocean waves": ((r"waveforms|flightgear", None),),
    "outdoor ambience": ((r"hell|ufo_night", None), (r"jungle|forest", "forest ambience")),
    "page turning": ((r"book_close|drop_book", None),),
    "person eating": ((r"gulp", None),),
    "person groaning": ((r"Nooo|grunts|hell_|/Robot/", None),),
    "person screaming": ((r"Wilhelm", "man screaming"), (r"gryphon|wail|freedroid", None)),
    "person speaking": ((r"civ_dog_bark", "dog barking"), (r"civ_dog|/talk", None)),
    "pickaxe hitting rock": ((r"minetest", None),),
    "pipe organ": ((r"hand_organ", None), (r"e_organ", "electric organ")),
    "plastic rattle": ((r"", None),),
    "plucked folk string instrument": ((r"yangqin", "dulcimer"), (r"Koto", "koto"), (r"rabel", None)),
    "punch": ((r"mud-fist|-miss", None),),
    "rain falling": ((r"amidst_the_raindrops", "background music"),),
    "river flowing": ((r"rand-stream|lincity", None),),
    "rocket launch": ((r"explosion|rocket-exp", "explosion"), (r"reload|spaceship|plasma|nitro", None)),
    "rodent squeaking": ((r"badger|ferret|otter|raccoon|porcupine|hedgehog", None),),
    "sawing wood": (
        (r"waveforms", None),
        (r"tree_?(falling|expire)", None),
        (r"(?i)woodcutting|lumber|choppy", "wood chopping"),
    ),
    "scraping": ((r"dragon|dragoon", None),),
    "shaker": ((r"(?i)maraca", "maracas"), (r"rattleroll", None)),
    "shield impact": ((r"shield_(metal|wood)", "shield impact"), (r"", None)),
    "siren": ((r"Health|FireStation", None),),
    "slide whistle": ((r"whirligig", None),),
    "snare drum": ((r"beats_0", None),),
    "static noise": ((r"backspin|rewind|scratch", None),),
    "steel drum": ((r"", None),),
    "stones scraping": ((r"footsteps/", "footsteps"), (r"rockHit|tires", None)),
    "sword clash": (
        (r"-miss|swish", "whoosh"),
        (r"drop_sword", "metal clang"),
        (r"sounds/sword|bullets/Sword|sword_attack|swordhit|sword-hit", "sword clash"),
        (r"", None),
    ),
    "synthesizer": ((r"explosions|world/|geoscape|alien|ufo|swoosh|woosh", None),),
    "telephone ringing": ((r"outgoing", None),),
    "thud": (
        (r"thud|sp-impact|perc_impact|misc/hit|tree_hit|hit-chest|frozen_hog_impact", "thud"),
        (r"", None),
    ),
    "tom drum": ((r"noise-tom|beats_0", None),),
    "town ambience": ((r"amb_farm|xing_school", None),),
    "trumpet": ((r"(?i)fanfare", None),),
    "tyre screech": ((r"air_brake|ski_skid|skid_metal", None),),
    "velcro ripping": ((r"zipper", "zipper"),),
    "water sloshing": ((r"watercolor|footsteps/", None),),
    "whistling": ((r"qabcs|EE_Whistle", None),),
    "wind blowing": ((r"turbine", None),),
    "wood knock": (
        (r"footsteps/", "footsteps"),
        (r"lomiri|woodbrk|picking_up|inventory", None),
    ),
    "woodblock": ((r"(?i)clave", "claves"), (r"ratchet|spoons", None)),
}
# Prompts recorded by one speaker, named after her or him: the labels say "person".
_WOMAN = re.compile(r"/sounds/[a-z]{2}_[A-Z]{2}_f_")
_MAN = re.compile(r"/sounds/[a-z]{2}_[A-Z]{2}_m_")
_NOT_SPEECH = re.compile(r"(?i)/(silence|beep\w*|tt-monkeys|ascending-2tone|confbridge-(join|leave))\.")


def canonical(manifest_label: str, category: str, package: str, path: str) -> str | None:
    """The canonical label of a recording, or None when it should not be used."""
    readable = not path.startswith("audio/")  # shared recordings are named after their label
    if readable:
        for pattern, target in _BY_PATH.get(manifest_label, ()):
            if re.search(pattern, path):
                return target
    if match := _SPEAKING.fullmatch(manifest_label):
        if _NOT_SPEECH.search(path):
            return None
        who = match[1]
        if who == "person" and _WOMAN.search(path):
            who = "woman"
        elif who == "person" and _MAN.search(path):
            who = "man"
        return "person speaking" if who == "cartoon voice" else f"{who} speaking"
    if category != "speech" and "_desc" in path:  # tuxpaint's spoken descriptions
        return None
    name = _SYNONYMS.get(manifest_label, manifest_label)
    return name if name in load_labels() else None


def report(rows: Iterable[Mapping[str, str]]) -> str:
    """How many recordings of a manifest are kept, by category, and the labels that are dropped."""
    kept: dict[str, int] = defaultdict(int)
    total: dict[str, int] = defaultdict(int)
    lost: dict[str, int] = defaultdict(int)
    seen: dict[str, int] = defaultdict(int)
    for row in rows:
        label, category = row["label"], row["category"]
        total[category] += 1
        seen[label] += 1
        if canonical(label, category, row["package"], row["path"]) is None:
            lost[label] += 1
        else:
            kept[category] += 1
    lines = [
        f"{category}\tkept {kept[category]}\tdropped {n - kept[category]}" for category, n in total.items()
    ]
    lines += ["", "dropped altogether: " + ", ".join(sorted(k for k in lost if lost[k] == seen[k]))]
    lines += [
        "dropped in part: " + ", ".join(f"{k} {lost[k]}/{seen[k]}" for k in sorted(lost) if lost[k] < seen[k])
    ]
    return "\n".join(lines) + "\n"

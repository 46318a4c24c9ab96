"""The built-in sample: ten synthetic sub-datasets in the row schema of the Hub dataset `jnirschl/uBench`."""

import io
import uuid

import numpy as np
from PIL import Image

from . import cognition
from .draw import draw

TRAIN_SEED = 11  # images and initial weights of the shipped models
TEST_SEED = 20240701  # the reported sample; no setting was chosen on its images
IMAGES_PER_SET = 120

_LIGHT, _FLUORESCENCE, _ELECTRON = "light microscopy", "fluorescence microscopy", "electron microscopy"
_STRUCTURE = "Cell/organism/structure type identification"

# One row a sub-dataset. `question` and the two `captions` belong to the classification task.
SETS: list[dict] = [
    {
        "dataset": "demo_organelle_tem",
        "scale": "subcellular",
        "taxonomy": _STRUCTURE,
        "modality": _ELECTRON,
        "submodalities": ["transmission electron microscopy"],
        "stain": "uranyl acetate",
        "domain": "biology",
        "subdomain": "cell biology",
        "microns_per_pixel": 0.03,
        "organism": "Mus musculus",
        "classes": ["mitochondrion", "cell nucleus", "endoplasmic reticulum", "multivesicular body", "lysosome"],
        "question": "Transmission electron micrograph of a cell. Which organelle is at the centre?",
        "captions": ["An electron micrograph of {class}.", "Transmission electron microscopy image showing {class}."],
    },
    {
        "dataset": "demo_protein_localization",
        "scale": "subcellular",
        "taxonomy": _STRUCTURE,
        "modality": _FLUORESCENCE,
        "submodalities": ["confocal microscopy"],
        "stain": "Alexa Fluor 488",
        "domain": "biology",
        "subdomain": "cell biology",
        "microns_per_pixel": 0.5,
        "organism": "Homo sapiens",
        "classes": ["nucleoplasm", "nucleoli", "mitochondria", "plasma membrane", "Golgi apparatus"],
        "question": "Immunofluorescence micrograph of one protein. In which compartment is the protein?",
        "captions": [
            "A fluorescence micrograph of protein in the {class}.",
            "Confocal microscopy image of a cell with protein located in the {class}.",
        ],
    },
    {
        "dataset": "demo_colocalization",
        "scale": "subcellular",
        "taxonomy": "Single molecule imaging",
        "modality": _FLUORESCENCE,
        "submodalities": ["confocal microscopy"],
        "stain": "EGFP and mCherry",
        "domain": "biology",
        "subdomain": "molecular biology",
        "microns_per_pixel": 0.1,
        "organism": "Homo sapiens",
        "classes": ["no colocalization", "partial colocalization", "complete colocalization"],
        "question": "Fluorescence micrograph of two labelled molecules. How much do they colocalize?",
        "captions": ["A fluorescence micrograph showing {class}.", "Image of two fluorescent molecules with {class}."],
    },
    {
        "dataset": "demo_blood_smear",
        "scale": "cellular",
        "taxonomy": _STRUCTURE,
        "modality": _LIGHT,
        "submodalities": ["brightfield microscopy"],
        "stain": "Giemsa",
        "domain": "pathology",
        "subdomain": "hematopathology",
        "microns_per_pixel": 0.4,
        "organism": "Homo sapiens",
        "classes": ["neutrophil", "eosinophil", "lymphocyte", "monocyte", "basophil"],
        "question": "Giemsa stained micrograph of human peripheral blood. Which white blood cell is it?",
        "captions": ["A Giemsa micrograph of a {class}.", "Light microscopy image of peripheral blood with a {class}."],
    },
    {
        "dataset": "demo_pap_smear",
        "scale": "cellular",
        "taxonomy": "Interpretation of neoplastic histopathology",
        "modality": _LIGHT,
        "submodalities": ["brightfield microscopy"],
        "stain": "Papanicolaou",
        "domain": "pathology",
        "subdomain": "gynecologic pathology",
        "microns_per_pixel": 0.8,
        "organism": "Homo sapiens",
        "classes": ["normal squamous cell", "low grade lesion", "high grade lesion", "squamous cell carcinoma"],
        "question": "Papanicolaou stained micrograph of cervical cells. What is the most likely grade?",
        "captions": ["A Papanicolaou micrograph of {class}.", "Pap smear image of cervical cells with {class}."],
    },
    {
        "dataset": "demo_mitosis",
        "scale": "cellular",
        "taxonomy": "Cell cycle and stage identification",
        "modality": _FLUORESCENCE,
        "submodalities": ["epifluorescence microscopy"],
        "stain": "H2B-mCherry",
        "domain": "biology",
        "subdomain": "cell biology",
        "microns_per_pixel": 0.4,
        "organism": "Homo sapiens",
        "classes": ["interphase", "prophase", "metaphase", "anaphase", "apoptosis"],
        "question": "H2B-mCherry fluorescence micrograph of a cell. Which stage is it in?",
        "captions": ["A fluorescence micrograph of a cell in {class}.", "H2B-mCherry image of chromatin in {class}."],
    },
    {
        "dataset": "demo_confluence",
        "scale": "cellular",
        "taxonomy": "cell texture and morphology profiling",
        "modality": _LIGHT,
        "stain": "unstained",
        "domain": "biology",
        "subdomain": "cell culture",
        "microns_per_pixel": 1.3,
        "submodalities": ["phase contrast microscopy", "differential interference contrast microscopy"],
        "organism": "Mus musculus",
        "classes": ["sparse culture", "subconfluent culture", "confluent culture"],
        "question": "Light micrograph of unstained living cells. How dense is the culture?",
        "captions": ["A light micrograph of a {class}.", "Microscopy image of living cells in a {class}."],
    },
    {
        "dataset": "demo_colon",
        "scale": "tissue",
        "taxonomy": "Interpretation of neoplastic histopathology",
        "modality": _LIGHT,
        "submodalities": ["brightfield microscopy"],
        "stain": "H&E",
        "domain": "pathology",
        "subdomain": "gastrointestinal pathology",
        "microns_per_pixel": 3.0,
        "organism": "Homo sapiens",
        "classes": ["normal mucosa", "adenocarcinoma", "smooth muscle", "lymphoid tissue", "adipose tissue"],
        "question": "H&E stained light micrograph of human colon. What is the most likely tissue?",
        "captions": ["An H&E micrograph of {class}.", "H&E stained light microscopy image of colon with {class}."],
    },
    {
        "dataset": "demo_tissue_fluorescence",
        "scale": "tissue",
        "taxonomy": _STRUCTURE,
        "modality": _FLUORESCENCE,
        "submodalities": ["epifluorescence microscopy"],
        "stain": None,
        "domain": "biology",
        "subdomain": "developmental biology",
        "microns_per_pixel": 2.0,
        "organism": "Mus musculus",
        "classes": ["kidney tubules", "skeletal muscle", "cerebral cortex", "intestinal villi"],
        "question": "Fluorescence micrograph of a mouse section. Which tissue is shown?",
        "captions": ["A fluorescence micrograph of {class}.", "Fluorescence image of a mouse section with {class}."],
    },
    {
        "dataset": "demo_tissue_sbfsem",
        "scale": "tissue",
        "taxonomy": _STRUCTURE,
        "modality": _ELECTRON,
        "submodalities": ["scanning electron microscopy"],
        "stain": "osmium tetroxide",
        "domain": "biology",
        "subdomain": "neurobiology",
        "microns_per_pixel": 0.25,
        "organism": "Rattus norvegicus",
        "classes": ["neuropil", "myelinated nerve", "striated muscle", "capillary"],
        "question": "Block-face scanning electron micrograph of rat tissue. Which structure is shown?",
        "captions": [
            "An electron micrograph of {class}.",
            "Scanning electron microscopy image of tissue with {class}.",
        ],
    },
]

NONE = "none of the above"

# Values no set carries, offered only as wrong answers.
_EXTRA = {
    "modality": [],
    "submodality": ["darkfield microscopy", "light sheet microscopy"],
    "domain": ["cytology", "radiology", "dermatology"],
    "subdomain": ["renal and medical kidney pathology", "cardiovascular pathology"],
    "stain": ["Gram", "Congo Red", "DAPI"],
}
# Every value of a coarse question, those of the sets first.
VALUES = {
    "modality": sorted({s["modality"] for s in SETS}),
    "submodality": sorted({m for s in SETS for m in s["submodalities"]}) + _EXTRA["submodality"],
    "domain": sorted({s["domain"] for s in SETS}) + _EXTRA["domain"],
    "subdomain": sorted({s["subdomain"] for s in SETS}) + _EXTRA["subdomain"],
    "stain": sorted({s["stain"] for s in SETS if s["stain"]}) + _EXTRA["stain"],
}
# The Hub's wordings. It has no captions for the subdomain.
QUESTIONS = {
    "modality": "What is the most likely microscopy modality used to acquire this image?",
    "submodality": "What is the most likely microscopy submodality used to acquire this image?",
    "domain": "What is the most likely field of study this micrograph would be used for?",
    "subdomain": "What is the most likely subfield of study this micrograph would be used for?",
    "stain": "What is the most likely technique used to stain this micrograph?",
}
_ACQUIRED = ["A micrograph acquired through {class}.", "A microscopy image obtained through {class}."]
CAPTIONS = {
    "modality": _ACQUIRED,
    "submodality": _ACQUIRED,
    "domain": ["A micrograph, typically studied in {class}.", "A microscopy image frequently studied in {class}."],
    "stain": ["A micrograph stained with {class}.", "A microscopy image stained with {class}."],
}
TAXA = {"Homo sapiens": "NCBITaxon_9606", "Mus musculus": "NCBITaxon_10090", "Rattus norvegicus": "NCBITaxon_10116"}
LABELS = [kind.replace(" ", "_") for s in SETS for kind in s["classes"]]
COLUMNS = [
    "image_id",
    "image",
    "label",
    "label_name",
    "dataset",
    "domain",
    "institution",
    "license",
    "microns_per_pixel",
    "modality",
    "ncbitaxon_id",
    "ncbitaxon_name",
    "pmid",
    "split",
    "stain",
    "subdomain",
    "submodality",
    "synthetic",
    "captions",
    "questions",
    "bbox",
    "polygon",
]
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "ubench_utils.demo")


def draw_set(spec, seed, count):
    """Draw the first `count` images of one sub-dataset.

    Parameters
    ----------
    spec : dict
        A row of `SETS`.
    seed : int
        Non-negative. Image i depends on the seed, the sub-dataset and i alone.
    count : int
        Images; the classes take turns.

    Returns
    -------
    images : ndarray
        (count, 64, 64, 3), uint8.
    kinds, submodalities : list of str
        Class and instrument of each image.
    """
    classes, instruments, number = spec["classes"], spec["submodalities"], SETS.index(spec)
    kinds = [classes[i % len(classes)] for i in range(count)]
    submodalities = [instruments[i // len(classes) % len(instruments)] for i in range(count)]
    images = [
        draw(spec["dataset"], submodalities[i], kinds[i], np.random.default_rng([seed, number, i]))
        for i in range(count)
    ]
    return np.stack(images), kinds, submodalities


def ask(rng, name, answer, values, length, image_id, text, templates):
    """One question and its captions: `length` options in random order, then "none of the above" the last."""
    wrong = [v for v in values if v != answer]
    options = [answer] + [wrong[i] for i in rng.permutation(len(wrong))[: length - 2]]
    options = [options[i] for i in rng.permutation(len(options))]
    at, key = options.index(answer), str(uuid.uuid5(_NAMESPACE, f"{image_id}/{name}"))
    question = {
        "answer": answer,
        "answer_idx": at,
        "id": key,
        "name": name,
        "options": [*options, NONE],
        "question": text,
        "tags": None,
    }
    captions = [
        {
            "id": key,
            "name": name,
            "question": template,
            "answer_idx": str(at),
            "tags": None,
            "options": [*(template.replace("{class}", o) for o in options), NONE],
        }
        for template in templates
    ]
    return question, captions


def ask_all(spec, kind, submodality, image_id, rng):
    """The `questions` and `captions` entries of one row, by name; None for what it has no truth of."""
    truth = {**spec, "submodality": submodality}
    classes = spec["classes"]
    questions, captions = {}, {}
    for name, values in VALUES.items():
        length = len(values) + 1 if name == "modality" else 6
        templates = CAPTIONS.get(name, [])
        if truth[name] is None:
            questions[name], asked = None, [None] * len(templates)
        else:
            questions[name], asked = ask(rng, name, truth[name], values, length, image_id, QUESTIONS[name], templates)
        captions.update({f"{name}_{k}": caption for k, caption in enumerate(asked)})
    questions["classification"], asked = ask(
        rng, "classification", kind, classes, min(len(classes), 5) + 1, image_id, spec["question"], spec["captions"]
    )
    captions.update({f"classification_{k}": caption for k, caption in enumerate(asked)})
    return questions, captions


def _png(pixels):
    """PNG bytes of a uint8 (64, 64, 3) array."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def draw_sample(seed=TEST_SEED, images_per_set=IMAGES_PER_SET):
    """Draw the built-in sample.

    Parameters
    ----------
    seed : int
        Non-negative. The same seed gives the same rows, byte for byte; in each sub-dataset a larger sample
        begins with the rows of a smaller one.
    images_per_set : int
        Rows of each of the ten sub-datasets.

    Returns
    -------
    datasets.Dataset
        10 x `images_per_set` rows in the 22 columns of the Hub's schema, one sub-dataset after the other.

    Raises
    ------
    ValueError
        If `seed` is negative or `images_per_set` is below 1.
    """
    from datasets import Dataset  # takes two seconds to import, and reading SETS must not

    if seed < 0 or images_per_set < 1:
        raise ValueError(f"seed must be >= 0 and images_per_set >= 1, not {seed} and {images_per_set}")
    rows = []
    for number, spec in enumerate(SETS):
        drawn = zip(*draw_set(spec, seed, images_per_set), strict=True)
        for i, (pixels, kind, submodality) in enumerate(drawn):
            image_id = str(uuid.uuid5(_NAMESPACE, f"{seed}/{spec['dataset']}/{i}"))
            rng = np.random.default_rng([seed, number, i, 1])
            questions, captions = ask_all(spec, kind, submodality, image_id, rng)
            if 0 <= i - cognition.FIRST < len(spec["classes"]):
                more = cognition.ask(spec["dataset"], kind, np.random.default_rng([seed, number, i, 2]))
                for name, entry in more.items():
                    key = str(uuid.uuid5(_NAMESPACE, f"{image_id}/{name}"))
                    questions[name] = {**entry, "id": key, "name": name, "tags": None}
            label = kind.replace(" ", "_")
            rows.append(
                {
                    "image_id": image_id,
                    "image": {"bytes": _png(pixels), "path": None},
                    "label": LABELS.index(label),
                    "label_name": label,
                    "dataset": spec["dataset"],
                    "domain": spec["domain"],
                    "institution": "procedural (synthetic)",
                    "license": "CC0-1.0",
                    "microns_per_pixel": spec["microns_per_pixel"],
                    "modality": spec["modality"],
                    "ncbitaxon_id": TAXA[spec["organism"]],
                    "ncbitaxon_name": spec["organism"],
                    "pmid": None,
                    "split": "test",
                    "stain": spec["stain"],
                    "subdomain": spec["subdomain"],
                    "submodality": submodality,
                    "synthetic": True,
                    "captions": captions,
                    "questions": questions,
                    "bbox": [],
                    "polygon": [],
                }
            )
    return Dataset.from_list(rows, features=sample_features(), split="test")


def sample_features():
    """The Hub's 22 columns as `datasets.Features`, with the labels of this sample."""
    from datasets import ClassLabel, Features, List, Value
    from datasets import Image as ImageFeature

    text, options, box = (
        Value("string"),
        List(Value("string")),
        List({"className": Value("string"), "points": List(Value("float32"))}),
    )
    caption = {"id": text, "name": text, "question": text, "answer_idx": text, "options": options, "tags": text}
    question = {
        "answer": text,
        "answer_idx": Value("int64"),
        "id": text,
        "name": text,
        "options": options,
        "question": text,
        "tags": text,
    }
    special = {
        "image": ImageFeature(),
        "label": ClassLabel(names=LABELS),
        "microns_per_pixel": Value("float32"),
        "synthetic": Value("bool"),
        "bbox": box,
        "polygon": box,
        "captions": {f"{name}_{k}": caption for name in (*CAPTIONS, "classification") for k in (0, 1)},
        "questions": dict.fromkeys(("classification", *QUESTIONS, *cognition.NAMES), question),
    }
    return Features({name: special.get(name, text) for name in COLUMNS})

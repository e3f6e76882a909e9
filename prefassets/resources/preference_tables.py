"""The tables that Python writes of what language models themselves prefer: asked, answered, fitted, and believed."""

from prefassets.resources.table import INTEGER, REAL, TEXT, Column, Table, optional

MEASUREMENT = Column(TEXT, "the measurement's name")
CONFIGURATION = Column(TEXT, "one way of asking, unique within its measurement")
MODEL = Column(TEXT, "`tiny`, a Hugging Face model id, or the name under which an endpoint serves the model")
REVISION = Column(TEXT, "revision of the model; of an endpoint, the name that its answers give")
TASK = Column(TEXT, "the task, as in tasks.tasks")
ASKED = Column(TEXT, "`before` or `after` the model has done the tasks")
CONFIGURATION_PARTITION = ("measurement", "configuration")

PREFERENCE_TABLES = (
    Table(
        "preferences.measurement",
        "One row per measurement file of this version: what is asked of one model.",
        {
            "measurement": MEASUREMENT,
            "question": Column(TEXT, "what it is to find out"),
            "model": MODEL,
            "backend": Column(TEXT, "`in_process` (transformers), or an OpenAI-compatible `endpoint`"),
            "answering": Column(TEXT, "`free`, or `constrained` to permitted answers, drawn by their probability"),
            "temperature": Column(REAL, "temperature of answers and completions"),
            "tasks": Column(INTEGER, "tasks drawn, evenly over their origins"),
            "seed": Column(INTEGER, "draws the tasks, the slots, and the answers"),
            "configurations": Column(INTEGER, "ways of asking"),
        },
    ),
    Table(
        "preferences.configuration",
        "One row per configuration: one way of asking for choices (a template) or ratings (a framing and options).",
        {
            "measurement": MEASUREMENT,
            "configuration": CONFIGURATION,
            "kind": Column(TEXT, "`choice` (pick one of two) or `rating` (rate one)"),
            "asked": ASKED,
            "task_order": optional(TEXT, "which task is shown first: random, canonical (list order) or reversed"),
            "instruction_position": optional(TEXT, "the instruction stands before or after the tasks"),
            "response_format": optional(TEXT, "what the model is to write: regex (a label), xml or tool_use"),
            "phrasing": optional(TEXT, "which wording of the instruction"),
            "punctuation": optional(TEXT, "standard or minimal"),
            "typos": optional(TEXT, "whether letters are swapped"),
            "language": optional(TEXT, "language of all but the tasks' own texts"),
            "task_label_names": optional(TEXT, "letter (Task A) or number (Task 1)"),
            "instruction_xml_tags": optional(TEXT, "whether the instruction stands between tags"),
            "situating_context": optional(TEXT, "whether the model is told that its preferences are measured"),
            "seed": optional(TEXT, "seed of the model's answers"),
            "framing": optional(TEXT, "framing of the rating's question"),
            "options": optional(TEXT, "the set of words to answer with"),
            "planned": Column(INTEGER, "questions planned; of choices, the most"),
        },
    ),
)

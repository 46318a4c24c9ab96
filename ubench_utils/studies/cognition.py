"""Cognition questions: how well they are answered in each field, and on how few pictures that rests."""

import pandas as pd

from ..data.benchmark import NOT_STATED
from ..data.questions import HEADLINE_WORDING
from ..evaluation.run import Evaluation
from ..statistics.scores import headline, score
from . import published
from .overview import complete, learned, missing

LEVEL = "cognition"
FIELDS = {"subdomain": "subdomain", "taxonomy": "task"}  # facets that the page breaks down by, the first that is stated
SHOWN = 3  # questions that are shown whole
SMALL = 10  # questions: of fewer, an interval is nearly as wide as the axis
FAMILIES = {False: "compares with each option", True: "replies in words"}
GUESSES = "guesses"


def asked(run: Evaluation) -> pd.DataFrame:
    """The cognition questions of a run."""
    return run.questions[(run.questions.level == LEVEL) & (run.questions.wording == HEADLINE_WORDING)]


def field(questions: pd.DataFrame) -> str:
    """The facet by which questions are told apart: ``subdomain``, or the task where no subdomain is stated."""
    stated = [facet for facet in FIELDS if (questions[facet] != NOT_STATED).any()]
    return stated[0] if stated else next(iter(FIELDS))


def scores(run: Evaluation, by: str) -> pd.DataFrame:
    """Scores of the cognition questions, in all and by a facet, as from ``score``, and the models' ``family``."""
    table = score(run.answers[run.answers.level == LEVEL], by=[by])
    facts = run.record["models"].items()
    families = {model: FAMILIES[of["replies"]] for model, of in facts if not of["guesses"]}
    return table.assign(family=[families.get(model, GUESSES) for model in table.model])


def fields(questions: pd.DataFrame, by: str) -> pd.DataFrame:
    """What stands behind each field; the row ``all`` is the last.

    Returns
    -------
    pandas.DataFrame
        ``field, n_questions, n_images`` (distinct contents), ``n_datasets, n_options`` (a range, as text), ``small``.
    """
    groups = [*questions.groupby(by, sort=True), ("all", questions)] if len(questions) else []
    rows = [
        {
            "field": name,
            "n_questions": len(of),
            "n_images": of.image_hash.nunique(),
            "n_datasets": of.dataset.nunique(),
            "n_options": "–".join(dict.fromkeys((f"{of.n_options.min()}", f"{of.n_options.max()}"))),
            "small": len(of) < SMALL,
        }
        for name, of in groups
    ]
    return pd.DataFrame(rows, columns=["field", "n_questions", "n_images", "n_datasets", "n_options", "small"])


def per_image(questions: pd.DataFrame) -> pd.DataFrame:
    """How many images have how many questions: ``questions, images``."""
    n = questions.groupby("image_hash").size()
    return n.value_counts().sort_index().rename_axis("questions").rename("images").reset_index()


def examples(questions: pd.DataFrame, by: str) -> pd.DataFrame:
    """Some questions of different fields, drawn with a fixed seed; fewer where there are fewer."""
    drawn = questions.sample(frac=1, random_state=0).drop_duplicates(by)
    more = questions.drop(drawn.index).sample(frac=1, random_state=0)
    return pd.concat([drawn, more]).head(SHOWN)


def published_scores() -> pd.DataFrame:
    """The paper's cognition scores, the best first: ``model, accuracy, ci_half_width`` in percent."""
    table = published.read("table1").query("level == @LEVEL")
    return table.sort_values("accuracy", ascending=False, kind="stable")[["model", "accuracy", "ci_half_width"]]


def context(run: Evaluation, table: pd.DataFrame, by: str) -> dict:
    """What the page on cognition says; ``table`` is from ``scores``."""
    questions = asked(run)
    n = questions.groupby("image_hash").size()
    rows = learned(headline(table))
    whole = complete(rows, run.asked)
    best = whole.loc[whole.estimate.idxmax()].to_dict() if len(whole) else None
    theirs = published_scores().to_dict("records")
    return {
        "missing": None if len(headline(table)) else missing(run.answers, LEVEL),
        "best": best,
        "n_models": len(rows),
        "above": [row["model"] for row in rows.to_dict("records") if row["ci_low"] > row["chance"]],
        "n_questions": len(questions),
        "n_pictures": len(n),
        "most": int(n.max()) if len(n) else 0,
        "n_several": int((questions.further != "").sum()),
        "cut": [
            (model, facts["questions_cut"])
            for model, facts in run.record["models"].items()
            if facts.get("questions_cut")
        ],
        "field": FIELDS[by],
        "n_fields": questions[by][questions[by] != NOT_STATED].nunique(),
        "n_fields_of_one": int((questions.groupby(by).image_hash.nunique() == 1).sum()) if len(questions) else 0,
        "published_best": theirs[0],
        "published_random": next(row for row in theirs if row["model"] == "Random"),
    }

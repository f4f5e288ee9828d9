"""Ten public tables as the CSV files that people have of them, each with a pipeline file of at most six lines.

Five are in scikit-learn. The others are typed from publications, and are data sets of R as well; of the first three the
publications have the number of rows of each kind.
"""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
from sklearn import datasets


class PublicTable(NamedTuple):
    """A table with its task, target, delimiter, further lines of the pipeline file, and columns that are no input."""

    frame: pd.DataFrame
    task: str
    target: str
    delimiter: str = ","
    lines: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def pipeline(self, path: str) -> str:
        """Return the pipeline file for the CSV file at `path`."""
        delimiter = "" if self.delimiter == "," else ', delimiter: "\\t"'
        source = f'source: {{kind: csv, path: "{path}"{delimiter}}}'
        return (
            "\n".join(["pipeline: public", f"task: {self.task}", source, f"target: {self.target}", *self.lines]) + "\n"
        )


def iris() -> PublicTable:
    """Fisher (1936), with the species in words."""
    bunch = datasets.load_iris(as_frame=True)
    species = bunch.target.map(lambda number: f"Iris-{bunch.target_names[number]}")
    return PublicTable(bunch.data.assign(species=species), "classification", "species")


def wine() -> PublicTable:
    """Forina et al. (1988): the class is a number and the first column."""
    bunch = datasets.load_wine(as_frame=True)
    frame = bunch.data.rename(columns={"od280/od315_of_diluted_wines": "OD280/OD315 of diluted wines"})
    frame.insert(0, "Class", bunch.target + 1)
    return PublicTable(frame, "classification", "Class")


def breast_cancer() -> PublicTable:
    """Street, Wolberg and Mangasarian (1993): id, diagnosis as M or B, and thirty numbers."""
    bunch = datasets.load_breast_cancer(as_frame=True)
    frame = bunch.data.copy()
    frame.insert(0, "id", range(842302, 842302 + len(frame)))
    frame.insert(1, "diagnosis", bunch.target.map({0: "M", 1: "B"}))
    return PublicTable(frame, "classification", "diagnosis", lines=("id: id",), unused=("id",))


def digits() -> PublicTable:
    """Alpaydin and Kaynak (1998): 64 pixels from 0 to 16, some of them always 0."""
    bunch = datasets.load_digits(as_frame=True)
    return PublicTable(bunch.data.astype(int).assign(digit=bunch.target), "classification", "digit")


def diabetes() -> PublicTable:
    """Efron et al. (2004) in its own units, delimited by tabs."""
    bunch = datasets.load_diabetes(as_frame=True, scaled=False)
    frame = bunch.data.rename(columns=str.upper).astype({"AGE": int, "SEX": int})
    return PublicTable(frame.assign(Y=bunch.target.astype(int)), "regression", "Y", "\t")


def titanic() -> PublicTable:
    """Dawson (1995): 2201 persons on board by class, sex, age and survival."""
    counts = {
        ("Child", "No"): (0, 0, 0, 0, 35, 17, 0, 0),
        ("Adult", "No"): (118, 4, 154, 13, 387, 89, 670, 3),
        ("Child", "Yes"): (5, 1, 11, 13, 13, 14, 0, 0),
        ("Adult", "Yes"): (57, 140, 14, 80, 75, 76, 192, 20),
    }
    groups = [(place, sex) for place in ("1st", "2nd", "3rd", "Crew") for sex in ("Male", "Female")]
    rows = [
        (*group, age, survived)
        for (age, survived), numbers in counts.items()
        for group, number in zip(groups, numbers, strict=True)
        for _ in range(number)
    ]
    frame = pd.DataFrame(rows, columns=["Class", "Sex", "Age", "Survived"])
    return PublicTable(frame, "classification", "Survived")


def berkeley_admissions() -> PublicTable:
    """Bickel, Hammel and O'Connell (1975): 4526 applicants to six departments."""
    counts = {
        "A": (512, 313, 89, 19), "B": (353, 207, 17, 8), "C": (120, 205, 202, 391),
        "D": (138, 279, 131, 244), "E": (53, 138, 94, 299), "F": (22, 351, 24, 317),
    }  # fmt: skip
    groups = [(sex, admitted) for sex in ("Male", "Female") for admitted in ("Admitted", "Rejected")]
    rows = [
        (admitted, sex, department)
        for department, numbers in counts.items()
        for (sex, admitted), number in zip(groups, numbers, strict=True)
        for _ in range(number)
    ]
    return PublicTable(pd.DataFrame(rows, columns=["Admit", "Gender", "Dept"]), "classification", "Admit")


def eye_colors() -> PublicTable:
    """Snee (1974): hair, eyes and sex of 592 students."""
    counts = {
        ("Male", "Black"): (32, 11, 10, 3), ("Male", "Brown"): (53, 50, 25, 15),
        ("Male", "Red"): (10, 10, 7, 7), ("Male", "Blond"): (3, 30, 5, 8),
        ("Female", "Black"): (36, 9, 5, 2), ("Female", "Brown"): (66, 34, 29, 14),
        ("Female", "Red"): (16, 7, 7, 7), ("Female", "Blond"): (4, 64, 5, 8),
    }  # fmt: skip
    rows = [
        (hair, eye, sex)
        for (sex, hair), numbers in counts.items()
        for eye, number in zip(("Brown", "Blue", "Hazel", "Green"), numbers, strict=True)
        for _ in range(number)
    ]
    return PublicTable(pd.DataFrame(rows, columns=["Hair", "Eye", "Sex"]), "classification", "Eye")


def tooth_growth() -> PublicTable:
    """Crampton (1947): cells of 60 guinea pigs by source and dose of vitamin C."""
    lengths = {
        ("VC", 0.5): "4.2 11.5 7.3 5.8 6.4 10 11.2 11.2 5.2 7",
        ("VC", 1): "16.5 16.5 15.2 17.3 22.5 17.3 13.6 14.5 18.8 15.5",
        ("VC", 2): "23.6 18.5 33.9 25.5 26.4 32.5 26.7 21.5 23.3 29.5",
        ("OJ", 0.5): "15.2 21.5 17.6 9.7 14.5 10 8.2 9.4 16.5 9.7",
        ("OJ", 1): "19.7 23.3 23.6 26.4 20 25.2 25.8 21.2 14.5 27.3",
        ("OJ", 2): "25.5 26.4 22.4 24.5 24.8 30.9 26.4 27.3 29.4 23",
    }
    rows = [(float(length), *group) for group, texts in lengths.items() for length in texts.split()]
    return PublicTable(pd.DataFrame(rows, columns=["len", "supp", "dose"]), "regression", "len")


def insect_sprays() -> PublicTable:
    """Beall (1942): insects on 72 plots by the spray used."""
    counts = {
        "A": (10, 7, 20, 14, 14, 12, 10, 23, 17, 20, 14, 13), "B": (11, 17, 21, 11, 16, 14, 17, 17, 19, 21, 7, 13),
        "C": (0, 1, 7, 2, 3, 1, 2, 1, 3, 0, 1, 4), "D": (3, 5, 12, 6, 4, 3, 5, 5, 5, 5, 2, 4),
        "E": (3, 5, 3, 5, 3, 6, 1, 1, 3, 2, 6, 4), "F": (11, 9, 15, 22, 15, 16, 13, 10, 26, 26, 24, 13),
    }  # fmt: skip
    rows = [(count, spray) for spray, numbers in counts.items() for count in numbers]
    return PublicTable(pd.DataFrame(rows, columns=["count", "spray"]), "regression", "count")


TABLES = (
    iris, wine, breast_cancer, digits, diabetes, titanic, berkeley_admissions, eye_colors, tooth_growth, insect_sprays,
)  # fmt: skip

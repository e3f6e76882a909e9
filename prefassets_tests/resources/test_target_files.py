"""A table of items or of choices is read as it lies; what is no target, missing or wrong is said, with its line."""

import polars as pl
import pytest

from prefassets.domain.prism.released import BadInput
from prefassets.resources.target_files import read_targets

TABLE = """\
task_id,valence,liked,group,topic,genre,text,level
a,0.5,true,x,math,g1,"one, and
two",1
b,,false,y,math,g2,two,2
c,-1e-3,true,y,,g3,three,2
d,3,false,x,art,g1,four,1
"""


def written(folder, text, name="t.csv"):
    file = folder / name
    file.write_text(text)
    return file


def values(found):
    return {target.name: (target.kind, target.values.rows()) for target in found.targets}


def test_columns_of_numbers_and_of_two_values_are_targets_and_the_rest_is_about_items(tmp_path):
    found = read_targets(written(tmp_path, TABLE))
    assert values(found) == {
        "valence": ("number", [("a", 0.5), ("c", -0.001), ("d", 3.0)]),
        "liked": ("binary", [("a", 1.0), ("b", 0.0), ("c", 1.0), ("d", 0.0)]),
        "group": ("binary", [("a", 0.0), ("b", 1.0), ("c", 1.0), ("d", 0.0)]),
        "level": ("binary", [("a", 0.0), ("b", 1.0), ("c", 1.0), ("d", 0.0)]),
    }
    assert found.items.to_dict(as_series=False) == {
        "item": ["a", "b", "c", "d"],
        "topic": ["math", "math", None, "art"],
        "text": ["one, and\ntwo", "two", "three", "four"],
        "unit": ["a", "b", "c", "d"],
        "length": [12.0, 3.0, 5.0, 4.0],
    }
    assert set(found.notes) == {
        "genre is no target: it is text, of 3 different values",
        "valence is empty for 1 of 4 items",
        "group is binary: 1 is y, 0 is x",
        "level is binary: 1 is 2, 0 is 1",
    }


def test_parquet_holds_the_same(tmp_path):
    rows = pl.DataFrame(
        {
            "id": [1, 2, 3, 4],
            "valence": [0.5, None, -0.001, 3.0],
            "liked": [True, False, None, True],
            "group": pl.Series(["x", "y", "y", "y"], dtype=pl.Categorical),
            "unit": [7, 7, 8, 9],
            "length": [3, None, 4, 5],
            "vector": [[1.0], [2.0], [3.0], [4.0]],
        }
    )
    rows.write_parquet(tmp_path / "t.parquet")
    found = read_targets(tmp_path / "t.parquet")
    assert values(found) == {
        "valence": ("number", [("1", 0.5), ("3", -0.001), ("4", 3.0)]),
        "liked": ("binary", [("1", 1.0), ("2", 0.0), ("4", 1.0)]),
        "group": ("binary", [("1", 0.0), ("2", 1.0), ("3", 1.0), ("4", 1.0)]),
    }
    assert found.items.select("item", "unit", "length").rows() == [
        ("1", "7", 3.0),
        ("2", "7", None),
        ("3", "8", 4.0),
        ("4", "9", 5.0),
    ]
    assert "vector is no target: it is List(Float64)" in found.notes


def test_only_wanted_columns_are_read_so_that_others_may_be_anything(tmp_path):
    file = written(tmp_path, "item,u,v\na,1,3\nb,2,x\nc,3,4\nd,4,5\n")
    assert list(values(read_targets(file, ["u"]))) == ["u"]
    with pytest.raises(BadInput, match="line 3, column v: 'x'; a number was wanted, or nothing"):
        read_targets(file)


@pytest.mark.parametrize("names", [("item_a", "item_b"), ("task_a", "task_b")])
def test_choices_are_wins_and_what_chose_neither_counts_as_none(tmp_path, names):
    header = ",".join([*names, "choice"])
    rows = "x,y,a\nx,y,A\nx,y,b\ny,z,refusal\ny,z,unparseable\ny,z,refusal\nz,z,a\nz,x,b\n"
    found = read_targets(written(tmp_path, f"{header}\n{rows}"))
    assert values(found) == {"choices": ("choices", [("x", "y", 2.0, 1.0), ("z", "x", 0.0, 1.0)])}
    assert found.items.rows() == [("x", "x"), ("z", "z"), ("y", "y")]
    assert found.notes == [
        "2 of 8 choices are refusal: a win for neither item",
        "1 of 8 choices are unparseable: a win for neither item",
        "left out: 1 choices between an item and itself",
    ]


def test_choices_may_be_counted_already(tmp_path):
    pl.DataFrame({"item_a": [1, 2], "item_b": [2, 3], "wins_a": [3, 0], "wins_b": [1, 0]}).write_parquet(
        tmp_path / "t.parquet"
    )
    assert values(read_targets(tmp_path / "t.parquet"))["choices"][1] == [("1", "2", 3.0, 1.0)]


@pytest.mark.parametrize(
    ("text", "wanted", "complaint"),
    [
        ("item,v\na,1\nb,nan\n", (), "line 3, column v: 'nan'; a number was wanted, or nothing where there is none"),
        ("item,v\na,1\nb,2\nc,-inf\n", (), "line 4, column v: '-inf'"),
        ("item,v\na,1\nb,NA\n", ("v",), "line 3, column v: 'NA'; a number was wanted, or nothing"),
        ("item,v\na,1\n\na,2\n", (), "line 4, column item: 'a'; each item has one row; it stands further up"),
        ("item,v\n,1\n", (), "line 2, column item: ''; what names the item was wanted"),
        ("item,v\na\n", (), "line 2: 1 values, 2 were wanted"),
        ("item,v,v\na,1,2\n", (), "line 1: column 'v' stands twice"),
        ("item,v\n", (), "holds no rows"),
        ("name,v\na,1\n", (), "as item, task_id, id, or choices between two, as item_a and item_b; there is name, v"),
        ("item,v\na,1\n", ("w",), "has no target 'w'; there is v"),
        ("item,v\na,\nb,\n", ("v",), "column v: numbers were wanted; it is empty throughout"),
        ("item,v\na,x\nb,y\nc,z\n", (), "a column of numbers or of two different values; there is item, v; v is no"),
        ("item,unit,v\na,u,1\nb,,2\n", (), "line 3, column unit: None; the item's unit was wanted"),
        ("item,length,v\na,1,1\nb,long,2\n", (), "line 3, column length: 'long'; a number of 0 or more was wanted"),
        ("item_a,item_b,choice\nx,y,a\nx,y,c\n", (), "line 3, column choice: 'c'; one of a, b, refusal, unparseable"),
        ("item_a,item_b,choice\nx,,a\n", (), "line 2, column item_b: ''; what names the item was wanted"),
        ("item_a,item_b,choice\nx,y,refusal\n", (), "there is none; 1 of 1 choices are refusal"),
        ("item_a,item_b,wins_a,wins_b\nx,y,1,-1\n", (), "line 2, column wins_b: '-1'; how often the item was chosen"),
        ("item_a,item_b,won\nx,y,1\n", (), "choice was wanted, or wins_a and wins_b; there is item_a, item_b, won"),
        ("item_a,item_b,choice\nx,y,a\n", ("v",), "has no target 'v'; it is a file of choices, whose one target is"),
    ],
)
def test_a_wrong_file_says_where_it_is_wrong_and_what_was_wanted(tmp_path, text, wanted, complaint):
    with pytest.raises(BadInput) as error:
        read_targets(written(tmp_path, text), wanted)
    assert complaint in str(error.value)
    assert str(tmp_path / "t.csv") in str(error.value)


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"a file of targets ends in .csv or .parquet; this one ends in '.xlsx'"):
        read_targets(written(tmp_path, "x", "t.xlsx"))
    with pytest.raises(BadInput, match="does not exist; a file of targets was wanted"):
        read_targets(tmp_path / "t.csv")

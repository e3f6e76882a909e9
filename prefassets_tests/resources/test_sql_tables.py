"""A file of sql/ declares itself: its path names it, its FROM clauses are its dependencies, its header its columns."""

import pytest

from prefassets.resources import sql_tables
from prefassets.resources.sql_tables import BadSql, tables_read


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("select * from a.b", ("a.b",)),
        ("from a.b join c.d using (x)", ("a.b", "c.d")),
        (
            "with mine as (from a.b) select * from mine, (select 1 from c.d where x in (select y from e.f))",
            ("a.b", "c.d", "e.f"),
        ),
        ("from a.b semi join c.d using (x) union all from e.f anti join g.h using (x)", ("a.b", "c.d", "e.f", "g.h")),
        ("select 'from x.y' -- from z.w", ()),
    ],
)
def test_dependencies_are_what_duckdb_reads(sql, tables):
    assert tables_read(sql) == tables


@pytest.mark.parametrize(
    ("sql", "complaint"),
    [
        ("drop table a.b", "Only SELECT"),
        ("select 1; select 2", "one SELECT was wanted; there are 2"),
        ("from margins", "'margins' is named without its schema"),
        ("selec 1", "syntax error"),
    ],
)
def test_what_is_not_one_select_is_refused(sql, complaint):
    with pytest.raises(BadSql, match=complaint):
        tables_read(sql)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty sql/ folder in the place of the project's."""
    monkeypatch.setattr(sql_tables, "SQL_FOLDER", tmp_path)
    sql_tables._bound.cache_clear()
    yield tmp_path
    sql_tables._bound.cache_clear()


def write(folder, path, text):
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text(text)


def test_a_table_declares_itself_and_inherits_the_comments_of_columns_it_keeps(folder):
    write(
        folder,
        "mine/sizes.sql",
        "-- One row per fold.\n-- users  how many\n--   of them\n"
        "select fold, count(*) as users from prism.folds group by fold",
    )
    write(folder, "mine/again.sql", "-- The same.\nfrom mine.sizes")
    found = sql_tables.sql_tables()
    assert list(found) == ["mine.sizes", "mine.again"]
    assert found["mine.again"].dependencies == ("mine.sizes",)
    assert found["mine.again"].table.description == "The same."
    columns = found["mine.again"].table.columns
    assert columns["users"].comment == "how many of them"
    assert columns["fold"].comment == "the held-out fold, 0 to 4"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("select fold from prism.folds", "sql/mine/bad.sql must begin with a comment"),
        ("-- One row.\nselect 1 as one", r"sql/mine/bad.sql: column 'one' has no comment; add `-- one  "),
        ("-- One row.\nselect fold from prism.fold", "sql/mine/bad.sql reads prism.fold, which no code"),
        ("-- One row.\nselect age from prism.folds", 'sql/mine/bad.sql: .*"age"'),
        (
            "-- One row.\n-- total  of all\nselect sum(fold) as total from prism.folds",
            "'total' must be cast: HUGEINT is none",
        ),
    ],
)
def test_a_bad_file_is_named_with_what_to_do(folder, text, complaint):
    write(folder, "mine/bad.sql", text)
    with pytest.raises(BadSql, match=complaint):
        sql_tables.sql_tables()

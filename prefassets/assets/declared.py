"""How a declared table becomes an asset: its key, description and column schema."""

from typing import Any

import dagster as dg

from prefassets.resources.sql_tables import all_tables, column_types


def declared(name: str) -> dict[str, Any]:
    """Arguments for `dg.asset` or `dg.AssetSpec` of the table `name`: key, description, column schema."""
    table = all_tables()[name]
    columns = [
        dg.TableColumn(
            column,
            column_types()[name, column],
            spec.comment,
            constraints=dg.TableColumnConstraints(nullable=spec.nullable),
        )
        for column, spec in table.columns.items()
    ]
    return {
        "key": name.split("."),
        "description": table.description,
        "metadata": {"dagster/column_schema": dg.TableSchema(columns), "dagster/table_name": name},
    }

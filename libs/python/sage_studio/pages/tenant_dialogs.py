"""Dialogs about tenants: their limits, a key to make, and a key that is shown once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nicegui import ui

from sage_common.errors import InvalidRequestError
from sage_common.tenants import Tenant, checked

NUMBERS = {
    "requests_per_minute": "Requests a minute",
    "tokens_per_minute": "Tokens a minute",
    "max_concurrent": "Requests at the same time",
    "daily_tokens": "Tokens a day",
    "monthly_tokens": "Tokens a month",
    "daily_money": "Money a day",
    "monthly_money": "Money a month",
}
CEILINGS = {"": "any class", "interactive": "interactive", "default": "default", "bulk": "bulk"}


@dataclass(frozen=True, slots=True)
class WantedKey:
    """A key to make."""

    tenant: str
    operator: bool
    label: str


async def tenant_dialog(tenant: Tenant | None) -> Tenant | None:
    """Ask for the limits of a tenant; return None where nothing is to be changed."""
    with ui.dialog() as dialog, ui.card().classes("form"):
        ui.label("Limits of a tenant; what is empty is not limited").classes("section")
        name = ui.input("Tenant", value=tenant.name if tenant else "").props("dense outlined")
        if tenant:
            name.props("readonly")
        fields = {
            name_of: ui.number(label, value=_number(getattr(tenant, name_of, None)), min=0)
            for name_of, label in NUMBERS.items()
        }
        for shown in fields.values():
            shown.props("dense outlined clearable")
        models = ui.input("Models (names, * and ?; spaces between)", value=" ".join(tenant.models if tenant else ()))
        models.props("dense outlined")
        ceiling = ui.select(CEILINGS, value=(tenant.class_ceiling if tenant else None) or "", label="Most urgent class")
        ceiling.props("dense outlined")
        problem = ui.label().classes("bad").props('role="alert"')

        def store() -> None:
            values: dict[str, Any] = {"name": name.value or "", "models": tuple((models.value or "").split())}
            values |= {field: _whole(shown.value) for field, shown in fields.items() if shown.value is not None}
            values |= {"class_ceiling": ceiling.value} if ceiling.value else {}
            values |= {"weight": tenant.weight} if tenant and tenant.weight is not None else {}
            try:
                dialog.submit(checked(Tenant, values))
            except InvalidRequestError as error:
                problem.set_text(error.message)

        with ui.element("div").classes("row-line right"):
            ui.button("Leave it", on_click=lambda: dialog.submit(None)).props("flat no-caps")
            ui.button("Store", on_click=store).props("unelevated no-caps")
    changed = await dialog
    dialog.delete()
    return changed if isinstance(changed, Tenant) else None


async def key_dialog(*, first: bool) -> WantedKey | None:
    """Ask whose key to make; return None where none is to be made."""
    with ui.dialog() as dialog, ui.card().classes("form"):
        ui.label("A new API key").classes("section")
        if first:
            ui.label(
                "It is the first: from then on every caller needs a key, this page too. Make it an operator's."
            ).classes("problem").style("margin: 0")
        tenant = ui.input("Tenant").props("dense outlined autofocus")
        label = ui.input("Label (optional)").props("dense outlined")
        operator = ui.switch("May change the mesh (operator)", value=first)

        def make() -> None:
            dialog.submit(WantedKey(tenant.value or "", bool(operator.value), label.value or ""))

        with ui.element("div").classes("row-line right"):
            ui.button("Leave it", on_click=lambda: dialog.submit(None)).props("flat no-caps")
            ui.button("Make it", on_click=make).props("unelevated no-caps")
    wanted = await dialog
    dialog.delete()
    return wanted if isinstance(wanted, WantedKey) else None


def secret_dialog(secret: str) -> None:
    """Show a key this once."""
    with ui.dialog().props("persistent") as dialog, ui.card().classes("form"):
        ui.label("The key; it is not shown again").classes("section")
        ui.label(secret).classes("mono secret")
        with ui.element("div").classes("row-line right"):
            ui.button("Copy", icon="content_copy", on_click=lambda: ui.clipboard.write(secret)).props("flat no-caps")
            ui.button("I have it", on_click=dialog.close).props("unelevated no-caps")
    dialog.on("hide", dialog.delete)
    dialog.open()


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _whole(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value

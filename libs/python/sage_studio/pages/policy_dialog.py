"""The dialog about the settings of a pool's policy."""

from __future__ import annotations

from nicegui import ui

from sage_client.management.views import PolicySettingView
from sage_common.errors import SageError
from sage_studio.access import Access
from sage_studio.pages.frame import give_order


async def policy_dialog(access: Access, pool: str) -> None:
    """Show what may be set of the policy of a pool, and change it."""
    try:
        found = await access.management.policy(pool)
    except SageError as error:
        ui.notify(error.message, type="negative")
        return
    with ui.dialog() as dialog, ui.card().classes("form"):
        ui.label(f"{found.policy}, the policy of {pool}").classes("section")
        if not found.settings:
            ui.label("It has no settings that are numbers.").classes("muted")
        fields = {}
        for setting in found.settings:
            fields[setting.name] = field = ui.number(setting.name, value=setting.value).props("dense outlined")
            field.props["hint"] = _hint(setting)

        async def change() -> None:
            values = {name: field.value for name, field in fields.items()}
            order = access.management.set_policy(found.policy, pool, changed_settings(found.settings, values))
            if await give_order(order, f"{pool} is scheduled by {found.policy} with these settings"):
                dialog.close()

        def as_configured() -> None:
            for setting in found.settings:
                fields[setting.name].set_value(setting.configured)

        with ui.element("div").classes("row-line right"):
            ui.button("Close", on_click=dialog.close).props("flat no-caps")
            if fields:
                ui.button("As configured", on_click=as_configured).props("flat no-caps")
                ui.button("Change", on_click=change).props("unelevated no-caps")
    dialog.on("hide", dialog.delete)
    dialog.open()


def changed_settings(settings: tuple[PolicySettingView, ...], values: dict[str, float | None]) -> dict[str, float]:
    """Return what is to differ from what the schedulers were started with; an emptied field does not."""
    given = ((setting, values[setting.name]) for setting in settings)
    return {setting.name: value for setting, value in given if value is not None and value != setting.configured}


def _hint(setting: PolicySettingView) -> str:
    was = "" if setting.value == setting.configured else f" Configured: {setting.configured:g}."
    return f"{setting.meaning}{was}"

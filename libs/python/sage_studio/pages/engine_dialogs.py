"""Dialogs about engines: starting one, its logs, its adapters, and whether something is really meant."""

from __future__ import annotations

import asyncio

from nicegui import ui

from sage_client.management.views import EngineRegistration, EngineView
from sage_common.errors import SageError
from sage_studio.access import Access
from sage_studio.pages.frame import give_order

SHOWN_LOG_LINES = 400
NO_PRESET = "vLLM's own settings"


async def confirm(question: str, order: str) -> bool:
    """Ask whether an order is meant."""
    with ui.dialog() as dialog, ui.card():
        ui.label(question)
        with ui.element("div").classes("row-line right"):
            ui.button("Leave it", on_click=lambda: dialog.submit(False)).props("flat no-caps autofocus")
            ui.button(order, on_click=lambda: dialog.submit(True)).props("unelevated no-caps color=negative")
    meant = bool(await dialog)
    dialog.delete()
    return meant


async def start_dialog(access: Access) -> None:
    """Ask for a model to start, or a server to take in."""
    try:
        presets = await access.management.engine_presets()
    except SageError as error:
        ui.notify(error.message, type="negative")
        return
    with ui.dialog() as dialog, ui.card():
        with ui.tabs().props("dense no-caps") as tabs:
            ui.tab("model", "Start a model")
            ui.tab("server", "Attach a server")
        with ui.tab_panels(tabs, value="model").style("background: transparent"):
            with ui.tab_panel("model").classes("form"):
                model = ui.input("Model: a name on the hub, or a folder").props("dense outlined autofocus")
                preset = ui.select({"": NO_PRESET, **{name: name for name in presets}}, value="", label="Preset")
                preset.props("dense outlined")
                ui.label().classes("muted").bind_text_from(preset, "value", lambda name: presets.get(name, ""))
                name = ui.input("Name (optional)").props("dense outlined")
                device = ui.input("Device (optional): cpu, cuda:0 …").props("dense outlined")

                async def start() -> None:
                    order = access.management.start_engine(
                        model.value or "", preset=preset.value or "", engine_id=name.value, device=device.value
                    )
                    if await give_order(order, f"{model.value} starts; its card says how far it is"):
                        dialog.close()

                ui.button("Start", on_click=start).props("unelevated no-caps")
            with ui.tab_panel("server").classes("form"):
                url = ui.input("URL of an OpenAI-compatible server").props("dense outlined")
                attached = ui.input("Name (optional)").props("dense outlined")
                key = ui.input("Its API key (optional)", password=True).props("dense outlined autocomplete=off")
                seats = ui.number("Most requests at once (optional)", min=0, precision=0).props("dense outlined")

                async def attach() -> None:
                    registration = EngineRegistration(
                        url.value or "", attached.value or "", key.value or "", max_concurrency=int(seats.value or 0)
                    )
                    if await give_order(access.management.register_engine(registration), f"{url.value} is attached"):
                        dialog.close()

                ui.button("Attach", on_click=attach).props("unelevated no-caps")
    dialog.on("hide", dialog.delete)
    dialog.open()


def logs_dialog(access: Access, engine: EngineView) -> None:
    """Show what the server of an engine writes, for as long as the dialog is open."""
    with ui.dialog() as dialog, ui.card().style("max-width: none"):
        ui.label(f"What {engine.name or engine.engine_id} writes").classes("section")
        shown = ui.log(max_lines=SHOWN_LOG_LINES).classes("log")
        ui.button("Close", on_click=dialog.close).props("flat no-caps").classes("right")

    async def follow() -> None:
        try:
            async for line in access.management.engine_logs(engine.engine_id, lines=SHOWN_LOG_LINES, follow=True):
                shown.push(line)
        except SageError as error:
            shown.push(error.message)

    task = asyncio.get_running_loop().create_task(follow())

    def end() -> None:
        task.cancel()
        dialog.delete()

    dialog.on("hide", end)
    ui.context.client.on_delete(lambda: task.cancel())
    dialog.open()


async def adapters_dialog(access: Access, engine: EngineView) -> None:
    """Show the adapters of an engine, and let them be loaded and unloaded."""
    try:
        models = await access.client.models()
    except SageError as error:
        ui.notify(error.message, type="negative")
        return
    adapters = [model.id for model in models if model.parent and model.id in engine.models]
    with ui.dialog() as dialog, ui.card().classes("form"):
        ui.label(f"LoRA adapters of {engine.name or engine.engine_id}").classes("section")
        for model in adapters:
            with ui.element("div").classes("row-line"):
                ui.label(model)

                async def unload(name: str = model) -> None:
                    if await give_order(access.management.unload_lora(engine.engine_id, name), f"{name} is unloaded"):
                        dialog.close()

                ui.button("Unload", on_click=unload).props("flat dense no-caps").classes("right")
        name = ui.input("Name of the model that it becomes").props("dense outlined")
        path = ui.input("Its folder, on the engine's machine").props("dense outlined")

        async def load() -> None:
            order = access.management.load_lora(engine.engine_id, name.value or "", path.value or "")
            if await give_order(order, f"{name.value} is loaded"):
                dialog.close()

        ui.button("Load", on_click=load).props("unelevated no-caps")
    dialog.on("hide", dialog.delete)
    dialog.open()

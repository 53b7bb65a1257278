"""``/tenants``: what was used, what each tenant may have, and the keys."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import partial

from nicegui import ui
from starlette.requests import Request
from starlette.responses import Response

from sage_client.management.api_keys import KeyView
from sage_client.management.tenants import UsageView
from sage_common.errors import SageError
from sage_common.tenants import Tenant
from sage_studio.pages.engine_dialogs import confirm
from sage_studio.pages.frame import empty, frame, give_order, icon_button
from sage_studio.pages.tenant_dialogs import key_dialog, secret_dialog, tenant_dialog
from sage_studio.usage_chart import SPANS, unix_ms, usage_options
from sage_studio.visit import Visit, Visits

# Usage lags the last request by a second or two.
REFRESH_SECONDS = 5.0
LIMITS = {
    "requests_per_minute": "{} requests/min",
    "tokens_per_minute": "{} tokens/min",
    "max_concurrent": "{} at a time",
    "daily_tokens": "{} tokens a day",
    "monthly_tokens": "{} tokens a month",
    "daily_money": "{} a day",
    "monthly_money": "{} a month",
}


def register(visits: Visits) -> None:
    """Add the page."""

    @ui.page("/tenants")
    async def tenants_page(request: Request) -> Response | None:
        visit = await visits.of(request)
        if isinstance(visit, Response):
            return visit
        with frame(visit, "/tenants", "Tenants"):
            await _TenantsPage(visit).update()
        return None


class _TenantsPage:
    def __init__(self, visit: Visit) -> None:
        self._access = visit.access
        self._api = visit.access.tenants
        self._signed_in = visit.signed_in
        self._drawn: dict[str, object] = {}
        self._problem = ui.label().classes("problem").props('role="alert"')
        self._problem.set_visibility(False)
        with ui.element("section").classes("card"):
            with ui.element("div").classes("row-line"):
                ui.label("Tokens").classes("section").style("margin: 0")
                self._split = ui.toggle({"tenant": "by tenant", "model": "by model"}, value="tenant")
                self._span = ui.toggle(list(SPANS), value="24 hours")
                for toggle in (self._split, self._span):
                    toggle.props("no-caps dense unelevated toggle-color=primary").classes("switch")
                    toggle.on_value_change(self.update)
            self._chart = ui.element("div")
            self._nothing = ui.label("Nothing was used yet in this time.").classes("muted")
        with ui.element("div").classes("cards wide-cards"):
            with ui.element("section").classes("card"):
                with ui.element("div").classes("row-line").style("margin-bottom: 10px"):
                    ui.label("Limits").classes("section").style("margin: 0")
                    ui.button("Set limits", icon="add", on_click=lambda: self._edit(None)).props(
                        "flat dense no-caps"
                    ).classes("right")
                self._tenants = ui.element("div").classes("lines")
            with ui.element("section").classes("card"):
                with ui.element("div").classes("row-line").style("margin-bottom: 10px"):
                    ui.label("API keys").classes("section").style("margin: 0")
                    ui.button("Make a key", icon="add", on_click=self._make_key).props("flat dense no-caps").classes(
                        "right"
                    )
                self._keys = ui.element("div").classes("lines")
        ui.timer(REFRESH_SECONDS, self.update, immediate=False)

    async def update(self) -> None:
        """Ask again, and draw what has changed."""
        span = SPANS[str(self._span.value)]
        now = datetime.now(timezone.utc)
        try:
            tenants = await self._api.tenants()
            keys = await self._api.keys()
            usage = await self._api.usage(since_unix_ms=unix_ms(span.begin(now)), by=span.by)
        except SageError as error:
            self._problem.set_text(error.message)
            self._problem.set_visibility(True)
            return
        self._problem.set_visibility(False)
        options = usage_options(usage, span, "model" if self._split.value == "model" else "tenant", now)
        if self._changed("chart", options):
            # A chart that is made where nobody sees it has no size.
            self._chart.clear()
            if usage:
                with self._chart:
                    ui.echart(options).classes("chart")
        self._nothing.set_visibility(not usage)
        if self._changed("tenants", (tenants, usage)):
            self._draw_tenants(tenants, usage)
        if self._changed("keys", keys):
            self._draw_keys(keys)

    def _changed(self, what: str, value: object) -> bool:
        if self._drawn.get(what) == value:
            return False
        self._drawn[what] = value
        return True

    def _draw_tenants(self, tenants: Sequence[Tenant], usage: Sequence[UsageView]) -> None:
        used: dict[str, int] = {}
        for row in usage:
            used[row.tenant] = used.get(row.tenant, 0) + row.prompt_tokens + row.completion_tokens
        self._tenants.clear()
        with self._tenants:
            if not tenants:
                empty("No tenant has limits.", "sage tenant set NAME --rpm 600")
            for tenant in tenants:
                with ui.element("div").classes("line"):
                    with ui.element("div"):
                        ui.label(tenant.name).classes("who")
                        ui.label(_limits(tenant)).classes("muted")
                    ui.label(f"{used.get(tenant.name, 0):,} tokens").classes("amount")
                    with ui.element("div").classes("row-line"):
                        icon_button("edit", f"Change {tenant.name}", partial(self._edit, tenant))
                        icon_button("delete", f"Remove the limits of {tenant.name}", partial(self._remove, tenant.name))

    def _draw_keys(self, keys: Sequence[KeyView]) -> None:
        now = time.time() * 1000
        self._keys.clear()
        with self._keys:
            if not keys:
                empty("Nobody needs a key. The first one closes the mesh: from then on every caller needs one.")
            for key in keys:
                state = key.state(now)
                with ui.element("div").classes("line"):
                    with ui.element("div"):
                        ui.label(key.tenant + (" · operator" if key.operator else "")).classes("who")
                        ui.label(f"{key.id} {key.label}".strip()).classes("muted mono")
                    ui.label(state).classes("chip " + ("good" if state == "valid" else "bad"))
                    with ui.element("div").classes("row-line"):
                        if state == "valid":
                            ui.button("Rotate", on_click=partial(self._rotate, key.id)).props("flat dense no-caps")
                            ui.button("Revoke", on_click=partial(self._revoke, key)).props(
                                "flat dense no-caps color=negative"
                            )

    async def _edit(self, tenant: Tenant | None) -> None:
        changed = await tenant_dialog(tenant)
        if changed is not None and await give_order(self._api.set_tenant(changed), f"{changed.name} has its limits"):
            await self.update()

    async def _remove(self, name: str) -> None:
        if await confirm(f"Remove the limits of {name}?", "Remove"):
            await give_order(self._api.remove_tenant(name), f"{name} has no limits any more")
            await self.update()

    async def _make_key(self) -> None:
        asked = await key_dialog(first=not self._signed_in and not self._drawn.get("keys"))
        if asked is None:
            return
        try:
            made = await self._api.create_key(asked.tenant, operator=asked.operator, label=asked.label)
        except SageError as error:
            ui.notify(error.message, type="negative", multi_line=True)
            return
        secret_dialog(made.secret)

    async def _rotate(self, key_id: str) -> None:
        try:
            made = await self._api.rotate_key(key_id)
        except SageError as error:
            ui.notify(error.message, type="negative", multi_line=True)
            return
        secret_dialog(made.secret)
        await self.update()

    async def _revoke(self, key: KeyView) -> None:
        if await confirm(f"Revoke the key {key.id} of {key.tenant}? What its holder gets ends at once.", "Revoke"):
            await give_order(self._api.revoke_key(key.id), f"{key.id} is revoked")
            await self.update()


def _limits(tenant: Tenant) -> str:
    values = [(text, getattr(tenant, name)) for name, text in LIMITS.items()]
    parts = [text.format(f"{value:,}") for text, value in values if value is not None]
    if tenant.models:
        parts.append(f"models {', '.join(tenant.models)}")
    if tenant.class_ceiling:
        parts.append(f"at most {tenant.class_ceiling}")
    return " · ".join(parts) or "no limits"

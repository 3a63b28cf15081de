"""A broker user with only the permissions that the service needs, on a topology that another user has declared."""

import asyncio
import re

import pytest
from support.faults.load import bad, booking
from support.faults.scene import Scene
from yarl import URL

from notifier.demo.node import PrivateNode

pytestmark = pytest.mark.faults


async def test_a_user_without_the_configure_permission(fragile: Scene, node: PrivateNode) -> None:
    """The documented permissions are enough.

    Every message is mailed or dead-lettered, and each warning is logged once.
    """
    scene = fragile
    permissions = ("^$", r"^notifier\.(dead|events)$", f"^{re.escape(scene.rabbit.queue)}$")
    await asyncio.to_thread(node.control, "add_user", "least", "least-privileged")
    await asyncio.to_thread(node.control, "set_permissions", "least", *permissions)
    url = URL(scene.rabbit.url).with_user("least").with_password("least-privileged")
    async with scene.service(AMQP_URL=str(url)) as victim:
        for number in range(10):
            await scene.load.publish(scene.rabbit.channel, *(bad(number) if number % 5 == 0 else booking(number)))
        await scene.sink.wait_accepted(8)
        await scene.end(victim)
    warned = [(line["event"], line["name"]) for line in victim.lines if "by this user" in str(line.get("event"))]
    assert len(warned) == len(set(warned)) == 6

"""Calls a server by the client that was generated from its description: calls.py <url> <service key>"""

import sys

import httpx

from parlor_client import AuthenticatedClient
from parlor_client.api.messages import edit_message, list_messages, post_message
from parlor_client.api.rooms import create_room, get_room, list_rooms, rename_room
from parlor_client.api.users import export_user, get_user
from parlor_client.models import Message, NewMember, NewMessage, NewRoom, NewText, Problem, Renaming

url, key = sys.argv[1:]
client = AuthenticatedClient(
    base_url=url, token=key, raise_on_unexpected_status=True, timeout=httpx.Timeout(30)
)

members = [NewMember(user_id=1), NewMember(user_id="two", email="two@example.com")]
room = create_room.sync(client=client, body=NewRoom(members=members))
assert room.name is None and {member.user_id for member in room.members} == {1, "two"}, room

(listed,) = list_rooms.sync(client=client, user_id=1).rooms
assert listed.room_id == room.room_id and listed.last_message is None, listed

message = post_message.sync(room.room_id, client=client, body=NewMessage(sender_id=1, text="hello"))
assert isinstance(message, Message) and message.message_id == 1, message
edited = edit_message.sync(room.room_id, 1, client=client, body=NewText(text="hello!"))
assert edited.text == "hello!", edited
(listed,) = list_rooms.sync(client=client, user_id="two").rooms
assert isinstance(listed.last_message, Message) and listed.last_message.text == "hello!", listed
assert listed.unread == 1 and listed.last_message.sender_email is None, listed
page = list_messages.sync(room.room_id, client=client)
assert [message.text for message in page.messages] == ["hello!"] and page.has_more is False, page

assert rename_room.sync(room.room_id, client=client, body=Renaming(name="Lunch")).name == "Lunch"
user = get_user.sync("two", client=client)
assert user.last_seen is None and user.rooms[0].email == "two@example.com", user
assert get_user.sync("nobody", client=client).rooms == []
assert export_user.sync(1, client=client).splitlines()[-1].count('"type":"end"') == 1

problem = get_room.sync(99, client=client)
assert isinstance(problem, Problem) and problem.code == "not_found", problem
print("done")

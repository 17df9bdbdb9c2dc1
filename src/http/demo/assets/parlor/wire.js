// Made by `npm run types` from config/asyncapi.json. Don't edit it here.
/** The meaning of each close code that the server sends. */
export const CLOSE_CODES = {
    1000: "the client closed the connection, and the server agrees",
    1001: "ping timeout: the client sent nothing and did not answer a ping",
    1002: "the client did not send valid WebSocket frames",
    1007: "a text frame was not UTF-8",
    1009: "a frame over limits.frame_bytes, or a message of more fragments than limits.message_fragments",
    1011: "an internal error of the server",
    1012: "the server is going away: reconnect after a random pause",
    1013: "the server can't serve this connection now, because the database or the issuer of the token's key can't be reached, the other user of the room is being erased, or the server is busy: try again later",
    4001: "there is no token, or it fails a check; the user is being erased; later: the token has expired, its key was removed, the rules for tokens were changed, or the application has disconnected the user",
    4003: "the caller is not the token's user, or not a member of the room",
    4004: "the room does not exist, or was deleted",
    4008: "the client reads too slowly",
    4029: "the client went on sending too much after being told so, or the user has too many sockets, connects too often, or makes too many rooms",
    4400: "a parameter is missing, malformed or given twice, or both users are the same",
};

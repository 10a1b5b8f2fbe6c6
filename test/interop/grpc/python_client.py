"""The interop cases on grpcio; see README.md."""

import json
import queue
import sys

import grpc

SERVICE = "weft.interop.Test"
LIMIT_S = 30
INITIAL = "x-grpc-test-echo-initial"
TRAILING = "x-grpc-test-echo-trailing-bin"
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"

channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.max_receive_message_length", 1 << 24)])
codecs = {
    "request_serializer": lambda value: b"" if value is None else json.dumps(value).encode(),
    "response_deserializer": lambda data: json.loads(data) if data else "empty",
}


def path(name, service=SERVICE):
    return "/%s/%s" % (service, name)


unary_call = channel.unary_unary(path("UnaryCall"), **codecs)
duplex_call = channel.stream_stream(path("FullDuplexCall"), **codecs)


def payload(size):
    return "0" * size


def equal(found, expected):
    if found != expected:
        raise AssertionError("%r, expected %r" % (found, expected))


def fails(call):
    """Code and details of a call that must not succeed."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("it succeeded")


class Requests:
    """Requests of a stream, given one by one."""

    def __init__(self):
        self.waiting = queue.Queue()

    def send(self, request):
        self.waiting.put(request)

    def end(self):
        self.waiting.put(self)

    def __iter__(self):
        return iter(self.waiting.get, self)


def empty_unary():
    equal(channel.unary_unary(path("EmptyCall"), **codecs)(None, timeout=LIMIT_S), "empty")


def large_unary():
    answer = unary_call({"responseSize": 314159, "payload": payload(271828)}, timeout=LIMIT_S)
    equal(len(answer["payload"]), 314159)


def client_streaming():
    call = channel.stream_unary(path("StreamingInputCall"), **codecs)
    answer = call(({"payload": payload(size)} for size in (27182, 8, 1828, 45904)), timeout=LIMIT_S)
    equal(answer["aggregatedSize"], 74922)


def server_streaming():
    sizes = [31415, 9, 2653, 58979]
    call = channel.unary_stream(path("StreamingOutputCall"), **codecs)
    answers = call({"responses": [{"size": size} for size in sizes]}, timeout=LIMIT_S)
    equal([len(answer["payload"]) for answer in answers], sizes)


def ping_pong():
    requests = Requests()
    answers = duplex_call(iter(requests), timeout=LIMIT_S)
    for request, response in ((27182, 31415), (8, 9), (1828, 2653), (45904, 58979)):
        requests.send({"payload": payload(request), "responses": [{"size": response}]})
        equal(len(next(answers)["payload"]), response)
    requests.end()
    equal(list(answers), [])
    equal(answers.code(), grpc.StatusCode.OK)


def empty_stream():
    answers = duplex_call(iter(()), timeout=LIMIT_S)
    equal(list(answers), [])
    equal(answers.code(), grpc.StatusCode.OK)


def timeout_on_sleeping_server():
    # A server knows the deadline too and may reset the call before the client has looked at its clock.
    for attempt in range(6):
        requests = Requests()
        answers = duplex_call(iter(requests), timeout=0.2)
        requests.send({"payload": payload(27182), "responses": [{"size": 31415, "afterMs": 60000}]})
        code, _ = fails(lambda: next(answers))
        requests.end()
        if code not in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE):
            break
    equal(code, grpc.StatusCode.DEADLINE_EXCEEDED)


def cancel_after_begin():
    requests = Requests()
    future = channel.stream_unary(path("StreamingInputCall"), **codecs).future(iter(requests), timeout=LIMIT_S)
    future.cancel()
    equal([future.cancelled(), future.code()], [True, grpc.StatusCode.CANCELLED])
    requests.end()


def cancel_after_first_response():
    requests = Requests()
    answers = duplex_call(iter(requests), timeout=LIMIT_S)
    requests.send({"payload": payload(27182), "responses": [{"size": 31415}]})
    equal(len(next(answers)["payload"]), 31415)
    answers.cancel()
    equal(fails(lambda: next(answers))[0], grpc.StatusCode.CANCELLED)
    requests.end()


def status_code_and_message():
    wanted = {"code": 2, "message": "test status message"}
    expected = (grpc.StatusCode.UNKNOWN, wanted["message"])
    equal(fails(lambda: unary_call({"status": wanted}, timeout=LIMIT_S)), expected)
    equal(fails(lambda: list(duplex_call(iter([{"status": wanted}]), timeout=LIMIT_S))), expected)


def special_status_message():
    call = lambda: unary_call({"status": {"code": 2, "message": SPECIAL}}, timeout=LIMIT_S)
    equal(fails(call), (grpc.StatusCode.UNKNOWN, SPECIAL))


def custom_metadata():
    metadata = ((INITIAL, "test_initial_metadata_value"), (TRAILING, b"\xab\xab\xab"))

    def check(call):
        equal(dict(call.initial_metadata()).get(INITIAL), "test_initial_metadata_value")
        equal(dict(call.trailing_metadata()).get(TRAILING), b"\xab\xab\xab")

    request = {"responseSize": 314159, "payload": payload(271828)}
    _, call = unary_call.with_call(request, metadata=metadata, timeout=LIMIT_S)
    check(call)
    request = {"responses": [{"size": 314159}], "payload": payload(271828)}
    answers = duplex_call(iter([request]), metadata=metadata, timeout=LIMIT_S)
    equal([len(answer["payload"]) for answer in answers], [314159])
    check(answers)


def unimplemented_method():
    call = channel.unary_unary(path("UnimplementedCall"), **codecs)
    equal(fails(lambda: call(None, timeout=LIMIT_S))[0], grpc.StatusCode.UNIMPLEMENTED)


def unimplemented_service():
    call = channel.unary_unary(path("UnimplementedCall", "weft.interop.Missing"), **codecs)
    equal(fails(lambda: call(None, timeout=LIMIT_S))[0], grpc.StatusCode.UNIMPLEMENTED)


CASES = (
    empty_unary,
    large_unary,
    client_streaming,
    server_streaming,
    ping_pong,
    empty_stream,
    timeout_on_sleeping_server,
    cancel_after_begin,
    cancel_after_first_response,
    status_code_and_message,
    special_status_message,
    custom_metadata,
    unimplemented_method,
    unimplemented_service,
)

for case in CASES:
    try:
        case()
        print("ok " + case.__name__, flush=True)
    except Exception as error:
        print("failed %s: %s" % (case.__name__, str(error).replace("\n", " ")), flush=True)
channel.close()

"""The interop service on grpcio; see README.md."""

import json
import sys
import threading
from concurrent import futures

import grpc

INITIAL = "x-grpc-test-echo-initial"
TRAILING = "x-grpc-test-echo-trailing-bin"
CODES = {code.value[0]: code for code in grpc.StatusCode}


def decode(data):
    return json.loads(data) if data else {}


def encode(value):
    return b"" if value is None else json.dumps(value).encode()


def payload(size):
    return {"payload": "0" * size}


def echo_metadata(context):
    for key, value in context.invocation_metadata():
        if key == INITIAL:
            context.send_initial_metadata(((INITIAL, value),))
        if key == TRAILING:
            context.set_trailing_metadata(((TRAILING, value),))


def abort_with(status, context):
    context.abort(CODES[status["code"]], status["message"])


def respond(responses, context, over):
    """Each after its time; nothing of them once the call is cancelled."""
    for response in responses:
        if response.get("afterMs", 0) > 0 and over.wait(response["afterMs"] / 1000):
            return
        yield payload(response["size"])


def when_over(context):
    over = threading.Event()
    if not context.add_callback(over.set):
        over.set()
    return over


def empty_call(_request, _context):
    return None


def unary_call(request, context):
    echo_metadata(context)
    if request.get("status"):
        abort_with(request["status"], context)
    return payload(request.get("responseSize", 0))


def streaming_input_call(requests, _context):
    return {"aggregatedSize": sum(len(request["payload"]) for request in requests)}


def streaming_output_call(request, context):
    yield from respond(request["responses"], context, when_over(context))


def full_duplex_call(requests, context):
    echo_metadata(context)
    over = when_over(context)
    status = None
    for request in requests:
        status = status or request.get("status")
        yield from respond(request.get("responses", []), context, over)
    if status:
        abort_with(status, context)


def main():
    codecs = {"request_deserializer": decode, "response_serializer": encode}
    methods = {
        "EmptyCall": grpc.unary_unary_rpc_method_handler(empty_call, **codecs),
        "UnaryCall": grpc.unary_unary_rpc_method_handler(unary_call, **codecs),
        "StreamingInputCall": grpc.stream_unary_rpc_method_handler(streaming_input_call, **codecs),
        "StreamingOutputCall": grpc.unary_stream_rpc_method_handler(streaming_output_call, **codecs),
        "FullDuplexCall": grpc.stream_stream_rpc_method_handler(full_duplex_call, **codecs),
    }
    pool = futures.ThreadPoolExecutor(max_workers=16)
    server = grpc.server(pool, options=[("grpc.max_receive_message_length", 1 << 24)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("weft.interop.Test", methods),))
    port = server.add_insecure_port("127.0.0.1:" + (sys.argv[1] if len(sys.argv) > 1 else "0"))
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


main()

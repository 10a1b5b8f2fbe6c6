package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	limit   = 30 * time.Second
	special = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"
)

type runner struct{ connection *grpc.ClientConn }

var pingPongSizes = [][2]int{{27182, 31415}, {8, 9}, {1828, 2653}, {45904, 58979}}

func runCases(address string) error {
	connection, err := grpc.NewClient(
		"passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(jsonCodec{}), grpc.MaxCallRecvMsgSize(messageBytesMax)),
	)
	if err != nil {
		return err
	}
	defer connection.Close()
	r := &runner{connection}
	cases := []struct {
		name string
		run  func(context.Context) error
	}{
		{"empty_unary", r.emptyUnary},
		{"large_unary", r.largeUnary},
		{"client_streaming", r.clientStreaming},
		{"server_streaming", r.serverStreaming},
		{"ping_pong", r.pingPong},
		{"empty_stream", r.emptyStream},
		{"timeout_on_sleeping_server", r.timeoutOnSleepingServer},
		{"cancel_after_begin", r.cancelAfterBegin},
		{"cancel_after_first_response", r.cancelAfterFirstResponse},
		{"status_code_and_message", r.statusCodeAndMessage},
		{"special_status_message", r.specialStatusMessage},
		{"custom_metadata", r.customMetadata},
		{"unimplemented_method", r.unimplementedMethod},
		{"unimplemented_service", r.unimplementedService},
	}
	for _, one := range cases {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		err := one.run(ctx)
		cancel()
		if err == nil {
			fmt.Println("ok " + one.name)
		} else {
			fmt.Printf("failed %s: %s\n", one.name, strings.ReplaceAll(err.Error(), "\n", " "))
		}
	}
	return nil
}

func equal[T comparable](found, expected T) error {
	if found != expected {
		return fmt.Errorf("%v, expected %v", found, expected)
	}
	return nil
}

// fails holds an error to a code and, unless empty, a message.
func fails(err error, code codes.Code, details string) error {
	if found := status.Code(err); found != code {
		return fmt.Errorf("code %v, expected %v: %v", found, code, err)
	}
	if found := status.Convert(err).Message(); details != "" && found != details {
		return fmt.Errorf("message %q, expected %q", found, details)
	}
	return nil
}

func (r *runner) unary(ctx context.Context, method string, request *message, options ...grpc.CallOption) (*message, error) {
	response := &message{}
	err := r.connection.Invoke(ctx, method, request, response, options...)
	return response, err
}

func (r *runner) stream(ctx context.Context, method string) (grpc.ClientStream, error) {
	description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	return r.connection.NewStream(ctx, description, "/"+serviceName+"/"+method)
}

func send(stream grpc.ClientStream, requests ...*message) error {
	for _, request := range requests {
		if err := stream.SendMsg(request); err != nil {
			return err
		}
	}
	return stream.CloseSend()
}

// receive holds the responses up to the end of a stream to these sizes.
func receive(stream grpc.ClientStream, sizes ...int) error {
	for _, size := range sizes {
		response := &message{}
		if err := stream.RecvMsg(response); err != nil {
			return err
		}
		if err := equal(len(response.Payload), size); err != nil {
			return err
		}
	}
	if err := stream.RecvMsg(&message{}); err != io.EOF {
		return fmt.Errorf("%v, expected the end", err)
	}
	return nil
}

func (r *runner) emptyUnary(ctx context.Context) error {
	response, err := r.unary(ctx, "/"+serviceName+"/EmptyCall", &message{empty: true})
	if err != nil {
		return err
	}
	return equal(response.empty, true)
}

func (r *runner) largeUnary(ctx context.Context) error {
	request := &message{ResponseSize: 314159, Payload: payload(271828)}
	response, err := r.unary(ctx, "/"+serviceName+"/UnaryCall", request)
	if err != nil {
		return err
	}
	return equal(len(response.Payload), 314159)
}

func (r *runner) clientStreaming(ctx context.Context) error {
	stream, err := r.stream(ctx, "StreamingInputCall")
	if err != nil {
		return err
	}
	requests := []*message{}
	for _, size := range []int{27182, 8, 1828, 45904} {
		requests = append(requests, &message{Payload: payload(size)})
	}
	if err := send(stream, requests...); err != nil {
		return err
	}
	response := &message{}
	if err := stream.RecvMsg(response); err != nil {
		return err
	}
	return equal(response.AggregatedSize, 74922)
}

func (r *runner) serverStreaming(ctx context.Context) error {
	stream, err := r.stream(ctx, "StreamingOutputCall")
	if err != nil {
		return err
	}
	sizes := []int{31415, 9, 2653, 58979}
	request := &message{}
	for _, size := range sizes {
		request.Responses = append(request.Responses, wantedResponse{Size: size})
	}
	if err := send(stream, request); err != nil {
		return err
	}
	return receive(stream, sizes...)
}

func (r *runner) pingPong(ctx context.Context) error {
	stream, err := r.stream(ctx, "FullDuplexCall")
	if err != nil {
		return err
	}
	for _, sizes := range pingPongSizes {
		request := &message{Payload: payload(sizes[0]), Responses: []wantedResponse{{Size: sizes[1]}}}
		if err := stream.SendMsg(request); err != nil {
			return err
		}
		response := &message{}
		if err := stream.RecvMsg(response); err != nil {
			return err
		}
		if err := equal(len(response.Payload), sizes[1]); err != nil {
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return receive(stream)
}

func (r *runner) emptyStream(ctx context.Context) error {
	stream, err := r.stream(ctx, "FullDuplexCall")
	if err != nil {
		return err
	}
	if err := send(stream); err != nil {
		return err
	}
	return receive(stream)
}

func (r *runner) timeoutOnSleepingServer(ctx context.Context) error {
	// A server knows the deadline too and may reset the call before the client has looked at its clock.
	for attempt := 0; ; attempt++ {
		err := r.sleepingServer(ctx)
		code := status.Code(err)
		byServer := code == codes.Canceled || code == codes.Unavailable
		if !byServer || attempt == 5 {
			return fails(err, codes.DeadlineExceeded, "")
		}
	}
}

func (r *runner) sleepingServer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	stream, err := r.stream(ctx, "FullDuplexCall")
	if err != nil {
		return err
	}
	request := &message{Payload: payload(27182), Responses: []wantedResponse{{Size: 31415, AfterMs: 60_000}}}
	// What it says of a call that is over is io.EOF; receiving says why.
	_ = stream.SendMsg(request)
	return stream.RecvMsg(&message{})
}

func (r *runner) cancelAfterBegin(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.stream(ctx, "StreamingInputCall")
	if err != nil {
		return err
	}
	cancel()
	return fails(stream.RecvMsg(&message{}), codes.Canceled, "")
}

func (r *runner) cancelAfterFirstResponse(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.stream(ctx, "FullDuplexCall")
	if err != nil {
		return err
	}
	request := &message{Payload: payload(27182), Responses: []wantedResponse{{Size: 31415}}}
	if err := stream.SendMsg(request); err != nil {
		return err
	}
	if err := stream.RecvMsg(&message{}); err != nil {
		return err
	}
	cancel()
	return fails(stream.RecvMsg(&message{}), codes.Canceled, "")
}

func (r *runner) statusCodeAndMessage(ctx context.Context) error {
	request := &message{Status: &wantedStatus{Code: 2, Message: "test status message"}}
	_, err := r.unary(ctx, "/"+serviceName+"/UnaryCall", request)
	if err := fails(err, codes.Unknown, request.Status.Message); err != nil {
		return err
	}
	stream, err := r.stream(ctx, "FullDuplexCall")
	if err != nil {
		return err
	}
	if err := send(stream, request); err != nil {
		return err
	}
	return fails(stream.RecvMsg(&message{}), codes.Unknown, request.Status.Message)
}

func (r *runner) specialStatusMessage(ctx context.Context) error {
	request := &message{Status: &wantedStatus{Code: 2, Message: special}}
	_, err := r.unary(ctx, "/"+serviceName+"/UnaryCall", request)
	return fails(err, codes.Unknown, special)
}

func checkMetadata(initial, trailing metadata.MD) error {
	if err := equal(strings.Join(initial.Get(initialKey), ","), "test_initial_metadata_value"); err != nil {
		return err
	}
	return equal(strings.Join(trailing.Get(trailingKey), ","), "\xab\xab\xab")
}

func (r *runner) customMetadata(ctx context.Context) error {
	ctx = metadata.AppendToOutgoingContext(ctx, initialKey, "test_initial_metadata_value", trailingKey, "\xab\xab\xab")
	var initial, trailing metadata.MD
	request := &message{ResponseSize: 314159, Payload: payload(271828)}
	_, err := r.unary(ctx, "/"+serviceName+"/UnaryCall", request, grpc.Header(&initial), grpc.Trailer(&trailing))
	if err != nil {
		return err
	}
	if err := checkMetadata(initial, trailing); err != nil {
		return err
	}
	stream, err := r.stream(ctx, "FullDuplexCall")
	if err != nil {
		return err
	}
	request = &message{Payload: payload(271828), Responses: []wantedResponse{{Size: 314159}}}
	if err := send(stream, request); err != nil {
		return err
	}
	if err := receive(stream, 314159); err != nil {
		return err
	}
	initial, err = stream.Header()
	if err != nil {
		return err
	}
	return checkMetadata(initial, stream.Trailer())
}

func (r *runner) unimplementedMethod(ctx context.Context) error {
	_, err := r.unary(ctx, "/"+serviceName+"/UnimplementedCall", &message{empty: true})
	return fails(err, codes.Unimplemented, "")
}

func (r *runner) unimplementedService(ctx context.Context) error {
	_, err := r.unary(ctx, "/weft.interop.Missing/UnimplementedCall", &message{empty: true})
	return fails(err, codes.Unimplemented, "")
}

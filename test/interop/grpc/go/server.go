package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func serve(port string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.ForceServerCodec(jsonCodec{}), grpc.MaxRecvMsgSize(messageBytesMax))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "EmptyCall", Handler: unaryHandler(emptyCall)},
			{MethodName: "UnaryCall", Handler: unaryHandler(unaryCall)},
		},
		Streams: []grpc.StreamDesc{
			{StreamName: "StreamingInputCall", Handler: streamingInputCall, ClientStreams: true},
			{StreamName: "StreamingOutputCall", Handler: streamingOutputCall, ServerStreams: true},
			{StreamName: "FullDuplexCall", Handler: fullDuplexCall, ClientStreams: true, ServerStreams: true},
		},
	}, nil)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	return server.Serve(listener)
}

func unaryHandler(call func(context.Context, *message) (*message, error)) grpc.MethodHandler {
	return func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		request := &message{}
		if err := decode(request); err != nil {
			return nil, err
		}
		return call(ctx, request)
	}
}

func echoed(ctx context.Context, key string) (metadata.MD, bool) {
	values := metadata.ValueFromIncomingContext(ctx, key)
	if len(values) == 0 {
		return nil, false
	}
	return metadata.Pairs(key, values[0]), true
}

func failure(wanted *wantedStatus) error {
	return status.Error(codes.Code(wanted.Code), wanted.Message)
}

func emptyCall(context.Context, *message) (*message, error) { return &message{empty: true}, nil }

func unaryCall(ctx context.Context, request *message) (*message, error) {
	if initial, ok := echoed(ctx, initialKey); ok {
		if err := grpc.SendHeader(ctx, initial); err != nil {
			return nil, err
		}
	}
	if trailing, ok := echoed(ctx, trailingKey); ok {
		if err := grpc.SetTrailer(ctx, trailing); err != nil {
			return nil, err
		}
	}
	if request.Status != nil {
		return nil, failure(request.Status)
	}
	return &message{Payload: payload(request.ResponseSize)}, nil
}

func streamingInputCall(_ any, stream grpc.ServerStream) error {
	size := 0
	for {
		request := &message{}
		err := stream.RecvMsg(request)
		if err == io.EOF {
			return stream.SendMsg(&message{AggregatedSize: size})
		}
		if err != nil {
			return err
		}
		size += len(request.Payload)
	}
}

// respond sends each after its time; nothing of them once the call is cancelled.
func respond(stream grpc.ServerStream, responses []wantedResponse) error {
	for _, response := range responses {
		if response.AfterMs > 0 {
			select {
			case <-stream.Context().Done():
				return stream.Context().Err()
			case <-time.After(time.Duration(response.AfterMs) * time.Millisecond):
			}
		}
		if err := stream.SendMsg(&message{Payload: payload(response.Size)}); err != nil {
			return err
		}
	}
	return nil
}

func streamingOutputCall(_ any, stream grpc.ServerStream) error {
	request := &message{}
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	return respond(stream, request.Responses)
}

func fullDuplexCall(_ any, stream grpc.ServerStream) error {
	if initial, ok := echoed(stream.Context(), initialKey); ok {
		if err := stream.SendHeader(initial); err != nil {
			return err
		}
	}
	if trailing, ok := echoed(stream.Context(), trailingKey); ok {
		stream.SetTrailer(trailing)
	}
	var wanted *wantedStatus
	for {
		request := &message{}
		err := stream.RecvMsg(request)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if request.Status != nil {
			wanted = request.Status
		}
		if err := respond(stream, request.Responses); err != nil {
			return err
		}
	}
	if wanted != nil {
		return failure(wanted)
	}
	return nil
}

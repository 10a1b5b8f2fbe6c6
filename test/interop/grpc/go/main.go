// The interop service and cases on Go's gRPC; see ../README.md.
//
//	weft-interop-go server PORT
//	weft-interop-go client HOST:PORT
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

const serviceName = "weft.interop.Test"

const (
	initialKey  = "x-grpc-test-echo-initial"
	trailingKey = "x-grpc-test-echo-trailing-bin"
)

const messageBytesMax = 1 << 24

type wantedStatus struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

type wantedResponse struct {
	Size    int `json:"size"`
	AfterMs int `json:"afterMs,omitempty"`
}

// message is every request and response; empty stands for no bytes at all.
type message struct {
	Payload        string           `json:"payload,omitempty"`
	ResponseSize   int              `json:"responseSize,omitempty"`
	Status         *wantedStatus    `json:"status,omitempty"`
	Responses      []wantedResponse `json:"responses,omitempty"`
	AggregatedSize int              `json:"aggregatedSize,omitempty"`

	empty bool
}

func payload(size int) string { return strings.Repeat("0", size) }

// jsonCodec goes by the name that gives the plain content type.
type jsonCodec struct{}

func (jsonCodec) Name() string { return "proto" }

func (jsonCodec) Marshal(value any) ([]byte, error) {
	if value.(*message).empty {
		return nil, nil
	}
	return json.Marshal(value)
}

func (jsonCodec) Unmarshal(data []byte, value any) error {
	if len(data) == 0 {
		value.(*message).empty = true
		return nil
	}
	return json.Unmarshal(data, value)
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: weft-interop-go server PORT | client HOST:PORT")
		os.Exit(2)
	}
	var err error
	if os.Args[1] == "server" {
		err = serve(os.Args[2])
	} else {
		err = runCases(os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

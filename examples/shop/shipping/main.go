// Shipping says how long a parcel takes. The shop shows it where Go is installed, and does without elsewhere.
//
//	GET /estimate?user=ID
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func environment(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

func main() {
	address := net.JoinHostPort(environment("HOST", "127.0.0.1"), environment("PORT", "8080"))
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, `{"ok":true}`) })
	mux.HandleFunc("/estimate", func(w http.ResponseWriter, r *http.Request) {
		user := r.URL.Query().Get("user")
		days := 2 + len(user)%3
		w.Header().Set("content-type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"user": user, "days": days})
	})
	server := &http.Server{Addr: address, Handler: mux, IdleTimeout: 75 * time.Second, ReadHeaderTimeout: 10 * time.Second}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		server.Close()
	}()
	fmt.Println("shipping listens on", address)
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
}

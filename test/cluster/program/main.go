// Command program is what the sample images hold: one static program that is
// what its first argument, or its own name, says.
//
//	pause    sleeps and reaps, as a pod's first process does
//	web      answers HTTP on port 80, or on the port of its second argument
//	exit     ends at once
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	if name == "program" && len(args) > 0 {
		name, args = args[0], args[1:]
	}
	switch name {
	case "pause":
		pause()
	case "web":
		port := "80"
		if len(args) > 0 {
			port = args[0]
		}
		go web(port)
		pause()
	case "exit":
	default:
		fmt.Fprintln(os.Stderr, "program: pause, web [PORT] or exit")
		os.Exit(2)
	}
}

// web greets; the pod's name shows which one answered.
func web(port string) {
	greet := func(w http.ResponseWriter, _ *http.Request) {
		host, _ := os.Hostname()
		fmt.Fprintf(w, "hello from %s\n", host)
	}
	server := http.Server{Addr: ":" + port, Handler: http.HandlerFunc(greet), ReadHeaderTimeout: time.Minute}
	fmt.Println("listening on", port)
	fmt.Fprintln(os.Stderr, "web:", server.ListenAndServe())
	os.Exit(1)
}

// pause waits for a signal to end, and meanwhile takes in every orphan.
func pause() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != nil || pid <= 0 {
				break
			}
		}
	}
}

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
)

func (k *kubeletServer) portForward(w http.ResponseWriter, r *http.Request) {
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	// What runs no processes of its own is in the network of the node.
	pod, _ := k.processes.of(r.PathValue("namespace"), r.PathValue("pod"))
	portforward.ServePortForward(w, r, forwarder{pod.Network}, r.PathValue("pod"), string(pod.UID), options,
		4*time.Hour, 30*time.Second, portforward.SupportedProtocols)
}

// forwarder connects to ports of a network: a file that is one, or that of this
// process.
type forwarder struct{ network string }

func (f forwarder) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	connection, err := f.dial(port)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _ = io.Copy(stream, connection)
		_ = stream.Close()
	}()
	_, err = io.Copy(connection, stream)
	if tcp, is := connection.(*net.TCPConn); is {
		_ = tcp.CloseWrite()
	}
	<-answered
	return err
}

func (f forwarder) dial(port int32) (net.Conn, error) {
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
	if f.network == "" {
		return net.Dial("tcp", at)
	}
	type result struct {
		connection net.Conn
		err        error
	}
	dialled := make(chan result)
	go func() {
		// The thread is in the other network from then on, and ends with this.
		runtime.LockOSThread()
		connection, err := dialIn(f.network, at)
		dialled <- result{connection, err}
	}()
	found := <-dialled
	return found.connection, found.err
}

func dialIn(network, at string) (net.Conn, error) {
	file, err := os.Open(network)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("the network of the pod: %w", err)
	}
	return net.Dial("tcp", at)
}

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/klog/v2"
	utilexec "k8s.io/utils/exec"
)

// kubeletPort is where the API server reaches the kubelet of every node.
const kubeletPort = 10250

// kubeletServer answers what the API server asks of a kubelet: commands that are
// run in pods, ports that are forwarded to them, and logs. It shows the certificate of the API server, which does
// not ask for another.
type kubeletServer struct {
	processes *processes
}

func (k *kubeletServer) run(ctx context.Context, keys credentials) error {
	pair, err := tls.LoadX509KeyPair(keys.path("server.crt"), keys.path("server.key"))
	if err != nil {
		return err
	}
	routes := http.NewServeMux()
	routes.HandleFunc("/exec/{namespace}/{pod}/{container}", k.exec)
	routes.HandleFunc("/portForward/{namespace}/{pod}", k.portForward)
	routes.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.logs)
	server := &http.Server{Handler: routes, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
	// Protocols that take the connection over need HTTP/1.1.
	server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	for number := range nodes {
		at := net.JoinHostPort(nodeAddress(number).String(), strconv.Itoa(kubeletPort))
		listener, err := net.Listen("tcp", at)
		if err != nil {
			return fmt.Errorf("the kubelet of %s: %w", nodeName(number), err)
		}
		go func() {
			if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
				klog.FromContext(ctx).Error(err, "The kubelet is not reached any more")
			}
		}()
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return nil
}

func (k *kubeletServer) exec(w http.ResponseWriter, r *http.Request) {
	pod, is := k.processes.of(r.PathValue("namespace"), r.PathValue("pod"))
	if !is {
		http.Error(w, "the pod does not run", http.StatusNotFound)
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	command := r.URL.Query()["command"]
	if len(command) == 0 {
		http.Error(w, "no command", http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, executor{pod}, r.PathValue("pod"), string(pod.UID), r.PathValue("container"),
		command, options, 4*time.Hour, 30*time.Second, remotecommand.SupportedStreamingProtocols)
}

// executor runs commands in the network of a pod.
type executor struct{ pod podState }

func (e executor) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader,
	out, problems io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	process := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + e.pod.Network, "--", "env", "PATH=" + e.pod.Path}, command...)...)
	process.Stdout = out
	process.Stderr = problems
	if problems == nil {
		process.Stderr = out
	}
	if in != nil {
		// Whoever types may go on when the command has ended.
		input, err := process.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(input, in)
			_ = input.Close()
		}()
	}
	err := process.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return utilexec.CodeExitError{Err: err, Code: ended.ExitCode()}
	}
	return err
}

func (k *kubeletServer) logs(w http.ResponseWriter, r *http.Request) {
	pod, is := k.processes.of(r.PathValue("namespace"), r.PathValue("pod"))
	if !is {
		http.Error(w, "the pod does not run", http.StatusNotFound)
		return
	}
	file, err := os.Open(filepath.Join(pod.Logs, filepath.Base(r.PathValue("container"))+".log"))
	if err != nil {
		http.Error(w, "there is no log", http.StatusNotFound)
		return
	}
	defer func() { _ = file.Close() }()
	if tail, err := strconv.Atoi(r.FormValue("tailLines")); err == nil {
		skipAllBut(file, tail)
	}
	w.Header().Set("Content-Type", "text/plain")
	for {
		if _, err := io.Copy(w, file); err != nil || r.FormValue("follow") != "true" {
			return
		}
		if flusher, is := w.(http.Flusher); is {
			flusher.Flush()
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// skipAllBut leaves so many lines to be read.
func skipAllBut(file *os.File, tail int) {
	count := 0
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		count++
	}
	_, _ = file.Seek(0, io.SeekStart)
	reader := bufio.NewReader(file)
	var skipped int64
	for range max(0, count-tail) {
		line, err := reader.ReadString('\n')
		if err != nil {
			break
		}
		skipped += int64(len(line))
	}
	_, _ = file.Seek(skipped, io.SeekStart)
}

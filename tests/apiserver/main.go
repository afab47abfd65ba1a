// Command apiserver runs a real kube-apiserver and the etcd under it in one
// process, for tests, and beside them such controllers as the tests want. All
// it writes lies in one folder, it listens on loopback only, and starting it
// again on the same folder continues the same cluster:
//
//	<dir>/etcd         the data of etcd
//	<dir>/pki          keys and certificates
//	<dir>/kubeconfig   credentials of the group system:masters
//	<dir>/ready        written last: {"url": "https://127.0.0.1:port"}
//
// It ends in order on SIGTERM and SIGINT and keeps the folder. With --attended
// it belongs to the process at the other end of its standard input: the line
// "stop" does the same as SIGTERM, and when the input closes (that process has
// ended, however) it ends and removes the folder, which nobody can want.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
)

type settings struct {
	dir         string
	port        int
	verbosity   int
	controllers []string
	node        string
}

func main() {
	var s settings
	var controllers string
	var attended bool
	flag.StringVar(&s.dir, "dir", "", "folder of this instance (made when absent)")
	flag.IntVar(&s.port, "secure-port", 0, "port on 127.0.0.1; 0 takes a free one")
	flag.IntVar(&s.verbosity, "verbosity", 0, "log verbosity of the API server")
	flag.StringVar(&controllers, "controllers", "serviceaccount,namespace",
		"controllers run beside the API server, comma-separated; * are all: "+strings.Join(controllerNames(), ", "))
	flag.StringVar(&s.node, "node", "", "socket of the node that runs pods as processes; without it they run nothing")
	flag.BoolVar(&attended, "attended", false, "obey standard input: end at the line \"stop\", end and remove the folder when it closes")
	flag.Parse()
	if s.dir == "" || flag.NArg() != 0 {
		fmt.Fprintln(os.Stderr, "usage: apiserver --dir FOLDER [--secure-port N] [--controllers LIST] [--node SOCKET] [--attended]")
		os.Exit(2)
	}
	if dir, err := filepath.Abs(s.dir); err == nil {
		s.dir = dir
	}
	s.controllers = controllersOf(controllers)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var abandoned atomic.Bool
	if attended {
		go func() {
			abandoned.Store(!readStop(os.Stdin))
			stop()
		}()
	}
	err := run(ctx, s)
	if abandoned.Load() {
		_ = os.RemoveAll(s.dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "apiserver:", err)
		os.Exit(1)
	}
}

// readStop returns true at the line "stop", false when the input ends before.
func readStop(input io.Reader) bool {
	lines := bufio.NewScanner(input)
	for lines.Scan() {
		if lines.Text() == "stop" {
			return true
		}
	}
	return false
}

func run(ctx context.Context, s settings) error {
	dir := s.dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// The sockets of etcd are named relative to this folder: a socket's whole
	// path may have no more than about a hundred bytes, a folder's name may.
	if err := os.Chdir(dir); err != nil {
		return err
	}
	ready := filepath.Join(dir, "ready")
	if err := os.Remove(ready); err != nil && !os.IsNotExist(err) {
		return err
	}

	keys, err := loadOrCreateCredentials(filepath.Join(dir, "pki"))
	if err != nil {
		return fmt.Errorf("keys and certificates: %w", err)
	}
	store, err := startEtcd(ctx, filepath.Join(dir, "etcd"))
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer store.Close()

	// The API server outlives nothing it needs: etcd is closed after it ends.
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	api, err := startAPIServer(serving, s, keys)
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := keys.writeKubeconfig(kubeconfig, api.url); err != nil {
		return err
	}
	var running runningControllers
	if err := bringUp(serving, api, kubeconfig, &running, s, keys); err == nil {
		if err := writeReady(ready, api.url); err != nil {
			return err
		}
		fmt.Println(api.url)
	} else if ctx.Err() == nil {
		cancel()
		running.wait()
		<-api.ended
		return err
	}

	select {
	case <-ctx.Done():
	case err := <-store.Err():
		return fmt.Errorf("etcd ended: %w", err)
	case <-api.ended:
	}
	cancel()
	running.wait()
	<-api.ended
	_ = os.Remove(ready)
	return api.err
}

// bringUp returns once there is a cluster. Controllers start when they are
// answered: one of upstream's ends the process when it is not, which on a busy
// machine may take longer than it waits.
func bringUp(ctx context.Context, api *apiServer, kubeconfig string, running *runningControllers, s settings, keys credentials) error {
	if err := api.waitUntilReady(ctx, kubeconfig); err != nil {
		return err
	}
	var node *processes
	if s.node != "" {
		var err error
		if node, err = newProcesses(s.node); err != nil {
			return err
		}
		if err := (&kubeletServer{node}).run(ctx, keys); err != nil {
			return err
		}
	}
	if err := running.start(ctx, kubeconfig, s.controllers, node); err != nil {
		return err
	}
	return api.waitForCluster(ctx, kubeconfig, running)
}

// writeReady makes the file appear whole: who polls for it reads all of it.
func writeReady(path, url string) error {
	content, err := json.Marshal(map[string]string{"url": url})
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

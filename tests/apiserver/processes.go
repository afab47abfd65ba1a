package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// processes has the node at the other end of a socket (tests/node) run pods as
// processes. Each line there is one message: to the node
//
//	{"run": POD}    also again, when its annotations are others, or it is to end
//	                within its grace period
//	{"end": UID}    at once, if it has not ended; it is forgotten
//
// and from the node
//
//	{"uid": UID, "ready": [CONTAINER], "network": FILE, "logs": FOLDER, "path": PATH}
//	{"uid": UID, "ended": true}
type processes struct {
	node net.Conn
	mu   sync.Mutex
	pods map[types.UID]*processesOfPod
}

type processesOfPod struct {
	key     string
	changed func()
	// What the node was told last.
	redirection string
	isToEnd     bool
	ended       chan struct{}
	state       podState
}

// podState is what the node says of a pod.
type podState struct {
	UID     types.UID `json:"uid"`
	Ready   []string  `json:"ready"`
	Network string    `json:"network"`
	Logs    string    `json:"logs"`
	Path    string    `json:"path"`
	Ended   bool      `json:"ended"`
}

// How long the processes of a pod may take to end.
const endLimit = 30 * time.Second

func newProcesses(socket string) (*processes, error) {
	node, err := net.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("the node: %w", err)
	}
	p := &processes{node: node, pods: map[types.UID]*processesOfPod{}}
	go p.listen()
	return p, nil
}

func (p *processes) listen() {
	lines := bufio.NewScanner(p.node)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var state podState
		if json.Unmarshal(lines.Bytes(), &state) != nil {
			continue
		}
		p.mu.Lock()
		pod, is := p.pods[state.UID]
		if is && state.Ended {
			close(pod.ended)
			delete(p.pods, state.UID)
		} else if is {
			pod.state = state
		}
		p.mu.Unlock()
		if is {
			pod.changed()
		}
	}
}

func (p *processes) send(message any) error {
	line, err := json.Marshal(message)
	if err != nil {
		return err
	}
	_, err = p.node.Write(append(line, '\n'))
	return err
}

func (p *processes) run(pod *v1.Pod, addresses []netip.Addr, changed func()) (func(string) bool, error) {
	if pod.Spec.HostNetwork {
		// There is no network of the node that it could have.
		return noProcesses{}.run(pod, addresses, changed)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	running, is := p.pods[pod.UID]
	redirection := pod.Annotations[redirectionAnnotation]
	if !is {
		running = &processesOfPod{
			key: pod.Namespace + "/" + pod.Name, changed: changed, ended: make(chan struct{}),
		}
		p.pods[pod.UID] = running
	}
	isToEnd := pod.DeletionTimestamp != nil
	if !is || running.redirection != redirection || running.isToEnd != isToEnd {
		running.redirection, running.isToEnd = redirection, isToEnd
		// Its status has no addresses yet.
		told := pod.DeepCopy()
		told.Status.PodIP = addresses[0].String()
		if err := p.send(map[string]any{"run": told}); err != nil {
			return nil, err
		}
	}
	ready := map[string]bool{}
	for _, container := range running.state.Ready {
		ready[container] = true
	}
	return func(container string) bool { return ready[container] }, nil
}

func (p *processes) hasEnded(uid types.UID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, is := p.pods[uid]
	return !is
}

func (p *processes) end(uid types.UID) {
	p.mu.Lock()
	pod, is := p.pods[uid]
	p.mu.Unlock()
	if p.send(map[string]any{"end": uid}) != nil || !is {
		return
	}
	select {
	case <-pod.ended:
	case <-time.After(endLimit):
	}
}

// of returns what the node said of a pod.
func (p *processes) of(namespace, name string) (podState, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pod := range p.pods {
		if pod.key == namespace+"/"+name && pod.state.Network != "" {
			return pod.state, true
		}
	}
	return podState{}, false
}

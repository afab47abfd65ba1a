package main

import (
	"context"
	"fmt"
	"net/netip"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// containerRuntime runs what the containers of pods run. The kubelet calls it
// for one pod at a time.
type containerRuntime interface {
	// run has the containers of a pod run at its addresses, which they do
	// already in all calls but the first. It returns whether a container is
	// ready, by name; changed is to be called whenever that may be otherwise.
	run(pod *v1.Pod, addresses []netip.Addr, changed func()) (func(container string) bool, error)
	// hasEnded tells whether the containers of a pod that is being deleted have
	// ended, for which they have its grace period from when run has seen that.
	hasEnded(pod types.UID) bool
	// end ends the containers of a pod at once, if there are any, and returns
	// once they have ended.
	end(pod types.UID)
}

// noProcesses runs nothing, and so all containers are ready at once.
type noProcesses struct{}

func (noProcesses) run(*v1.Pod, []netip.Addr, func()) (func(string) bool, error) {
	return func(string) bool { return true }, nil
}

func (noProcesses) hasEnded(types.UID) bool { return true }

func (noProcesses) end(types.UID) {}

// kubelet is that of all nodes: it registers them, gives the pods bound to them
// addresses, has their containers run, reports what they do, and lets deleted
// pods go. Pods of nodes that are not its own it leaves alone.
type kubelet struct {
	client  kubernetes.Interface
	pods    corelisters.PodLister
	queue   keys
	runtime containerRuntime
	numbers map[string]int // of the nodes, by name
	free    [nodes]*hosts
	running map[string]runningPod
}

// runningPod has the host of its node's ranges that a pod is; 0 for one that is
// its node.
type runningPod struct {
	uid  types.UID
	node int
	host uint16
}

func newKubelet(ctx context.Context, cluster *clusterClients) (func(), error) {
	pods := cluster.shared.Core().V1().Pods()
	queue, err := keysOf(pods.Informer())
	if err != nil {
		return nil, err
	}
	k := &kubelet{
		client: cluster.client, pods: pods.Lister(), queue: queue, runtime: noProcesses{},
		numbers: map[string]int{}, running: map[string]runningPod{},
	}
	if cluster.processes != nil {
		k.runtime = cluster.processes
	}
	for number := range nodes {
		k.numbers[nodeName(number)] = number
		k.free[number] = newHosts()
	}
	return func() {
		registerNodes(ctx, cluster.client)
		if cache.WaitForCacheSync(ctx.Done(), pods.Informer().HasSynced) && k.resume() == nil {
			reconcile(ctx, "kubelet", queue, k.look)
		}
	}, nil
}

// resume takes over the pods that an earlier process gave addresses.
func (k *kubelet) resume() error {
	pods, err := k.pods.List(labels.Everything())
	for _, pod := range pods {
		number, is := k.numbers[pod.Spec.NodeName]
		if !is {
			continue
		}
		key := cache.MetaObjectToName(pod).String()
		if host, is := hostOf(podRanges(number)[0], pod.Status.PodIP); is && k.free[number].claim(host, key) {
			k.running[key] = runningPod{pod.UID, number, host}
		}
	}
	return err
}

func (k *kubelet) look(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	pod, err := k.pods.Pods(namespace).Get(name)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if running, is := k.running[key]; is && (err != nil || running.uid != pod.UID) {
		k.end(key, running)
	}
	if err != nil {
		return nil
	}
	number, is := k.numbers[pod.Spec.NodeName]
	switch {
	case !is:
		return nil
	case pod.DeletionTimestamp != nil && k.hasEnded(key, pod):
		if running, is := k.running[key]; is {
			k.end(key, running)
		}
		return k.remove(ctx, pod)
	case pod.Status.Phase == v1.PodSucceeded, pod.Status.Phase == v1.PodFailed:
		return nil
	}
	addresses, err := k.addressesOf(key, pod, number)
	if err != nil {
		return err
	}
	isReady, err := k.runtime.run(pod, addresses, func() { k.queue.Add(key) })
	if err != nil {
		return err
	}
	status := podStatus(pod, nodeAddress(number), addresses, isReady)
	if equality.Semantic.DeepEqual(pod.Status, status) {
		return nil
	}
	pod = pod.DeepCopy()
	pod.Status = status
	_, err = k.client.CoreV1().Pods(namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return err
}

// addressesOf returns the addresses of a pod, which it gets here the first time.
func (k *kubelet) addressesOf(key string, pod *v1.Pod, node int) ([]netip.Addr, error) {
	running, is := k.running[key]
	if !is {
		running = runningPod{uid: pod.UID, node: node}
		if !pod.Spec.HostNetwork {
			host, is := k.free[node].take(key)
			if !is {
				return nil, fmt.Errorf("%s has no addresses left", nodeName(node))
			}
			running.host = host
		}
		k.running[key] = running
	}
	if pod.Spec.HostNetwork {
		return []netip.Addr{nodeAddress(node)}, nil
	}
	var addresses []netip.Addr
	for _, prefix := range podRanges(node) {
		addresses = append(addresses, hostIn(prefix, running.host))
	}
	return addresses, nil
}

// hasEnded tells whether nothing of a pod runs, or nothing ever did.
func (k *kubelet) hasEnded(key string, pod *v1.Pod) bool {
	_, is := k.running[key]
	return !is || k.runtime.hasEnded(pod.UID)
}

// remove has a pod that is being deleted be gone, as a kubelet does once
// nothing of it runs any more.
func (k *kubelet) remove(ctx context.Context, pod *v1.Pod) error {
	var now int64
	err := k.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now,
		Preconditions:      &metav1.Preconditions{UID: &pod.UID},
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func (k *kubelet) end(key string, pod runningPod) {
	k.runtime.end(pod.uid)
	delete(k.running, key)
	k.free[pod.node].giveBack(pod.host)
}

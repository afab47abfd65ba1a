package main

import (
	"context"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// scheduler binds each pending pod to the node with the fewest pods of its
// namespace, then with the fewest at all, of those that its node selector and
// affinity allow. It knows neither resources nor taints, and leaves pods of
// another scheduler and gated ones alone.
type scheduler struct {
	client kubernetes.Interface
	pods   corelisters.PodLister
	queue  keys
	// bound has the node of every pod that is bound, also where the informer
	// does not know it yet.
	bound map[string]binding
}

type binding struct {
	uid  types.UID
	node string
}

func newScheduler(ctx context.Context, cluster *clusterClients) (func(), error) {
	pods := cluster.shared.Core().V1().Pods()
	queue, err := keysOf(pods.Informer())
	if err != nil {
		return nil, err
	}
	s := &scheduler{client: cluster.client, pods: pods.Lister(), queue: queue, bound: map[string]binding{}}
	return func() {
		if cache.WaitForCacheSync(ctx.Done(), pods.Informer().HasSynced) {
			reconcile(ctx, "scheduler", queue, s.look)
		}
	}, nil
}

func (s *scheduler) look(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	pod, err := s.pods.Pods(namespace).Get(name)
	switch {
	case apierrors.IsNotFound(err):
		delete(s.bound, key)
		return nil
	case err != nil:
		return err
	case pod.Spec.NodeName != "":
		s.bound[key] = binding{pod.UID, pod.Spec.NodeName}
		return nil
	case pod.DeletionTimestamp != nil, pod.Spec.SchedulerName != v1.DefaultSchedulerName,
		len(pod.Spec.SchedulingGates) != 0, s.bound[key].uid == pod.UID:
		return nil
	}
	node, err := s.nodeFor(pod)
	if err != nil || node == "" {
		return err
	}
	err = s.client.CoreV1().Pods(namespace).Bind(ctx, &v1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: pod.UID},
		Target:     v1.ObjectReference{Kind: "Node", Name: node},
	}, metav1.CreateOptions{})
	if err == nil {
		s.bound[key] = binding{pod.UID, node}
	}
	return err
}

// nodeFor returns the name of the node for a pod, or none if none is allowed.
func (s *scheduler) nodeFor(pod *v1.Pod) (string, error) {
	all, near := map[string]int{}, map[string]int{}
	for key, b := range s.bound {
		all[b.node]++
		if strings.HasPrefix(key, pod.Namespace+"/") {
			near[b.node]++
		}
	}
	fewer := func(one, other string) bool {
		if near[one] != near[other] {
			return near[one] < near[other]
		}
		return all[one] < all[other]
	}
	required := nodeaffinity.GetRequiredNodeAffinity(pod)
	best := ""
	for number := range nodes {
		node := nodeOf(number)
		if matches, err := required.Match(node); err != nil || !matches {
			continue
		}
		if best == "" || fewer(node.Name, best) {
			best = node.Name
		}
	}
	return best, nil
}

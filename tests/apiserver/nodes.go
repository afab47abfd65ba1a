package main

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

// nodes is how many the cluster has: test-node-0, test-node-1, each in a zone
// of its own.
const nodes = 2

func nodeName(number int) string { return fmt.Sprintf("test-node-%d", number) }

// nodeOf returns a node as it is registered.
func nodeOf(number int) *v1.Node {
	now := metav1.Now()
	capacity := v1.ResourceList{
		v1.ResourceCPU:    resource.MustParse("64"),
		v1.ResourceMemory: resource.MustParse("256Gi"),
		v1.ResourcePods:   resource.MustParse("10000"),
	}
	var ranges []string
	for _, prefix := range podRanges(number) {
		ranges = append(ranges, prefix.String())
	}
	return &v1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: nodeName(number),
			Labels: map[string]string{
				v1.LabelHostname:       nodeName(number),
				v1.LabelOSStable:       "linux",
				v1.LabelArchStable:     "amd64",
				v1.LabelTopologyRegion: "test-region",
				v1.LabelTopologyZone:   fmt.Sprintf("test-zone-%d", number),
			},
		},
		Spec: v1.NodeSpec{PodCIDR: ranges[0], PodCIDRs: ranges},
		Status: v1.NodeStatus{
			Capacity:    capacity,
			Allocatable: capacity,
			Addresses: []v1.NodeAddress{
				{Type: v1.NodeInternalIP, Address: nodeAddress(number).String()},
				{Type: v1.NodeHostName, Address: nodeName(number)},
			},
			Conditions: []v1.NodeCondition{{
				Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "KubeletReady",
				LastHeartbeatTime: now, LastTransitionTime: now,
			}},
			DaemonEndpoints: v1.NodeDaemonEndpoints{KubeletEndpoint: v1.DaemonEndpoint{Port: kubeletPort}},
			NodeInfo:        v1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "amd64"},
		},
	}
}

// registerNodes makes the nodes that are absent, and tries until it succeeds or
// the context ends.
func registerNodes(ctx context.Context, client kubernetes.Interface) {
	for number := 0; number < nodes && ctx.Err() == nil; {
		err := registerNode(ctx, client, number)
		if err == nil {
			number++
			continue
		}
		klog.FromContext(ctx).V(2).Info("Cannot register a node yet", "node", nodeName(number), "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func registerNode(ctx context.Context, client kubernetes.Interface, number int) error {
	wanted := nodeOf(number)
	node, err := client.CoreV1().Nodes().Create(ctx, wanted, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil || len(node.Spec.Taints) == 0 {
		return err
	}
	// The API server taints a new node, and what would remove the taint once
	// the node is ready does not run here.
	node.Spec.Taints = nil
	_, err = client.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{})
	return err
}

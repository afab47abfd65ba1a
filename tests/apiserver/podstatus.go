package main

import (
	"net/netip"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

// podStatus returns the status of a running pod: what it has of others stays,
// and times stay where nothing changed.
func podStatus(pod *v1.Pod, node netip.Addr, addresses []netip.Addr, isReady func(container string) bool) v1.PodStatus {
	now := metav1.Now()
	status := *pod.Status.DeepCopy()
	status.ObservedGeneration = pod.Generation
	status.Phase = v1.PodRunning
	status.HostIP = node.String()
	status.HostIPs = []v1.HostIP{{IP: node.String()}}
	status.PodIP = addresses[0].String()
	status.PodIPs = nil
	for _, address := range addresses {
		status.PodIPs = append(status.PodIPs, v1.PodIP{IP: address.String()})
	}
	if status.StartTime == nil {
		status.StartTime = &now
	}

	status.InitContainerStatuses = nil
	for i := range pod.Spec.InitContainers {
		container := &pod.Spec.InitContainers[i]
		if container.RestartPolicy != nil && *container.RestartPolicy == v1.ContainerRestartPolicyAlways {
			status.InitContainerStatuses = append(status.InitContainerStatuses, runningStatus(container, *status.StartTime, isReady))
		} else {
			status.InitContainerStatuses = append(status.InitContainerStatuses, completedStatus(container, *status.StartTime))
		}
	}
	areReady := true
	status.ContainerStatuses = nil
	for i := range pod.Spec.Containers {
		container := runningStatus(&pod.Spec.Containers[i], *status.StartTime, isReady)
		areReady = areReady && container.Ready
		status.ContainerStatuses = append(status.ContainerStatuses, container)
	}

	isPodReady := areReady
	for _, readinessGate := range pod.Spec.ReadinessGates {
		_, condition := podutil.GetPodCondition(&status, readinessGate.ConditionType)
		isPodReady = isPodReady && condition != nil && condition.Status == v1.ConditionTrue
	}
	set := func(kind v1.PodConditionType, holds bool, reason string) {
		condition := v1.PodCondition{Type: kind, Status: v1.ConditionTrue, ObservedGeneration: pod.Generation}
		if !holds {
			condition.Status, condition.Reason = v1.ConditionFalse, reason
		}
		podutil.UpdatePodCondition(&status, &condition)
	}
	set(v1.PodScheduled, true, "")
	set(v1.PodInitialized, true, "")
	set(v1.ContainersReady, areReady, "ContainersNotReady")
	reason := "ContainersNotReady"
	if areReady {
		reason = "ReadinessGatesNotReady"
	}
	set(v1.PodReady, isPodReady, reason)
	return status
}

func runningStatus(container *v1.Container, since metav1.Time, isReady func(container string) bool) v1.ContainerStatus {
	started := true
	return v1.ContainerStatus{
		Name: container.Name, Image: container.Image, ImageID: container.Image, ContainerID: "test://" + container.Name,
		Started: &started, Ready: isReady(container.Name),
		State: v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: since}},
	}
}

func completedStatus(container *v1.Container, at metav1.Time) v1.ContainerStatus {
	started := false
	return v1.ContainerStatus{
		Name: container.Name, Image: container.Image, ImageID: container.Image, ContainerID: "test://" + container.Name,
		Started: &started, Ready: true,
		State: v1.ContainerState{Terminated: &v1.ContainerStateTerminated{
			Reason: "Completed", StartedAt: at, FinishedAt: at, ContainerID: "test://" + container.Name,
		}},
	}
}

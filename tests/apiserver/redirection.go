package main

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	// What makes a pod part of a mesh, on the pod or else on its namespace.
	dataplaneModeLabel = "istio.io/dataplane-mode"
	// What is written on a pod whose traffic is redirected.
	redirectionAnnotation = "ambient.istio.io/redirection"
)

// redirection says of the pods of nodes that run processes whether their traffic
// is redirected, as the agent of a node does. The node follows the annotation.
type redirection struct {
	client     kubernetes.Interface
	pods       corelisters.PodLister
	namespaces corelisters.NamespaceLister
	queue      keys
}

func newRedirection(ctx context.Context, cluster *clusterClients) (func(), error) {
	if cluster.processes == nil {
		return func() {}, nil
	}
	pods, namespaces := cluster.shared.Core().V1().Pods(), cluster.shared.Core().V1().Namespaces()
	queue, err := keysOf(pods.Informer())
	if err != nil {
		return nil, err
	}
	r := &redirection{client: cluster.client, pods: pods.Lister(), namespaces: namespaces.Lister(), queue: queue}
	again := func(object any) {
		namespace, is := object.(*v1.Namespace)
		if !is {
			return
		}
		all, err := r.pods.Pods(namespace.Name).List(labels.Everything())
		if err != nil {
			return
		}
		for _, pod := range all {
			queue.Add(cache.MetaObjectToName(pod).String())
		}
	}
	_, err = namespaces.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: again, UpdateFunc: func(_, object any) { again(object) },
	})
	if err != nil {
		return nil, err
	}
	return func() {
		if cache.WaitForCacheSync(ctx.Done(), pods.Informer().HasSynced, namespaces.Informer().HasSynced) {
			reconcile(ctx, "redirection", queue, r.look)
		}
	}, nil
}

func (r *redirection) look(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	pod, err := r.pods.Pods(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	of, err := r.namespaces.Get(namespace)
	if err != nil {
		return err
	}
	mode, is := pod.Labels[dataplaneModeLabel]
	if !is {
		mode = of.Labels[dataplaneModeLabel]
	}
	wanted := mode == "ambient" && !pod.Spec.HostNetwork
	if (pod.Annotations[redirectionAnnotation] == "enabled") == wanted {
		return nil
	}
	value := "null"
	if wanted {
		value = `"enabled"`
	}
	patch := fmt.Sprintf(`{"metadata": {"uid": %q, "annotations": {%q: %s}}}`, pod.UID, redirectionAnnotation, value)
	_, err = r.client.CoreV1().Pods(namespace).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

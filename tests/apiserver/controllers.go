package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/namespace"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
)

// controller starts one controller of kube-controller-manager; it returns at
// once with what runs until the context ends.
type controller func(ctx context.Context, config *rest.Config, client kubernetes.Interface, shared informers.SharedInformerFactory) (func(), error)

// controllers are those that tests need to have a cluster behave as one:
// service accounts appear in namespaces, deleted namespaces go away. A further
// controller of kube-controller-manager needs only an entry here.
var controllers = map[string]controller{
	"serviceaccount": func(ctx context.Context, _ *rest.Config, client kubernetes.Interface, shared informers.SharedInformerFactory) (func(), error) {
		c, err := serviceaccount.NewServiceAccountsController(
			klog.FromContext(ctx), shared.Core().V1().ServiceAccounts(), shared.Core().V1().Namespaces(),
			client, serviceaccount.DefaultServiceAccountsControllerOptions())
		if err != nil {
			return nil, err
		}
		return func() { c.Run(ctx, 1) }, nil
	},
	"namespace": func(ctx context.Context, config *rest.Config, client kubernetes.Interface, shared informers.SharedInformerFactory) (func(), error) {
		objects, err := metadata.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		c := namespace.NewNamespaceController(ctx, client, objects,
			client.Discovery().ServerPreferredNamespacedResources,
			shared.Core().V1().Namespaces(), 0, v1.FinalizerKubernetes)
		return func() { c.Run(ctx, 2) }, nil
	},
}

func controllerNames() []string {
	names := make([]string, 0, len(controllers))
	for name := range controllers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

type runningControllers struct {
	group                     sync.WaitGroup
	hasDefaultServiceAccounts bool
}

func (r *runningControllers) wait() { r.group.Wait() }

func startControllers(ctx context.Context, kubeconfig string, names []string) (*runningControllers, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	// Tests make namespaces by the dozen; the default of five requests a
	// second would be what they wait for.
	config.QPS, config.Burst = 200, 400
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	shared := informers.NewSharedInformerFactory(client, 0)
	running := &runningControllers{hasDefaultServiceAccounts: slices.Contains(names, "serviceaccount")}
	for _, name := range names {
		start, known := controllers[name]
		if !known {
			return nil, fmt.Errorf("no controller %q; known: %s", name, strings.Join(controllerNames(), ", "))
		}
		run, err := start(ctx, config, client, shared)
		if err != nil {
			return nil, fmt.Errorf("controller %s: %w", name, err)
		}
		running.group.Go(run)
	}
	shared.Start(ctx.Done())
	return running, nil
}

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/endpointslice"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/namespace"
	"k8s.io/kubernetes/pkg/controller/replicaset"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
)

const (
	// workers of each controller: tests share few cores.
	workers = 2
	// Upstream's number of endpoints in one slice.
	endpointsPerSlice = 100
	// How long a new kind may be unknown to the garbage collector. Upstream's
	// half minute would be what tests wait for that install kinds.
	discoveryPeriod = time.Second
)

// controller makes one controller; what it returns runs until the context ends.
type controller func(ctx context.Context, cluster *clusterClients) (func(), error)

// clusterClients is what controllers are made of. Informers start when all
// controllers are made.
type clusterClients struct {
	client   kubernetes.Interface
	metadata metadata.Interface
	shared   informers.SharedInformerFactory
	objects  informerfactory.InformerFactory
	started  chan struct{}
	// nil where pods run nothing.
	processes *processes
}

// controllers have a cluster behave as one. Those of kube-controller-manager
// are upstream's own; the scheduler, the kubelet and the load balancer are ours.
var controllers = map[string]controller{
	"serviceaccount": func(ctx context.Context, cluster *clusterClients) (func(), error) {
		c, err := serviceaccount.NewServiceAccountsController(
			klog.FromContext(ctx), cluster.shared.Core().V1().ServiceAccounts(), cluster.shared.Core().V1().Namespaces(),
			cluster.client, serviceaccount.DefaultServiceAccountsControllerOptions())
		if err != nil {
			return nil, err
		}
		return func() { c.Run(ctx, 1) }, nil
	},
	"namespace": func(ctx context.Context, cluster *clusterClients) (func(), error) {
		c := namespace.NewNamespaceController(ctx, cluster.client, cluster.metadata,
			cluster.client.Discovery().ServerPreferredNamespacedResources,
			cluster.shared.Core().V1().Namespaces(), 0, v1.FinalizerKubernetes)
		return func() { c.Run(ctx, workers) }, nil
	},
	"deployment": func(ctx context.Context, cluster *clusterClients) (func(), error) {
		c, err := deployment.NewDeploymentController(ctx, cluster.shared.Apps().V1().Deployments(),
			cluster.shared.Apps().V1().ReplicaSets(), cluster.shared.Core().V1().Pods(), cluster.client)
		if err != nil {
			return nil, err
		}
		return func() { c.Run(ctx, workers) }, nil
	},
	"replicaset": func(ctx context.Context, cluster *clusterClients) (func(), error) {
		c := replicaset.NewReplicaSetController(ctx, cluster.shared.Apps().V1().ReplicaSets(),
			cluster.shared.Core().V1().Pods(), cluster.client, replicaset.BurstReplicas)
		return func() { c.Run(ctx, workers) }, nil
	},
	"endpointslice": func(ctx context.Context, cluster *clusterClients) (func(), error) {
		core := cluster.shared.Core().V1()
		c := endpointslice.NewController(ctx, core.Pods(), core.Services(), core.Nodes(),
			cluster.shared.Discovery().V1().EndpointSlices(), endpointsPerSlice, cluster.client, 0)
		return func() { c.Run(ctx, workers) }, nil
	},
	"garbagecollector": func(ctx context.Context, cluster *clusterClients) (func(), error) {
		// Its mapper and its look for new kinds may not share a cache.
		mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(cluster.client.Discovery()))
		c, err := garbagecollector.NewGarbageCollector(ctx, cluster.client, cluster.metadata, mapper,
			garbagecollector.DefaultIgnoredResources(), cluster.objects, cluster.started)
		if err != nil {
			return nil, err
		}
		return func() {
			var group sync.WaitGroup
			group.Go(func() { c.Sync(ctx, cluster.client.Discovery(), discoveryPeriod) })
			c.Run(ctx, workers, time.Minute)
			group.Wait()
		}, nil
	},
	"scheduler":    newScheduler,
	"kubelet":      newKubelet,
	"loadbalancer": newLoadBalancer,
	"redirection":  newRedirection,
}

func controllerNames() []string {
	names := make([]string, 0, len(controllers))
	for name := range controllers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// controllersOf reads a comma-separated list of names; "*" stands for all.
func controllersOf(list string) []string {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		switch name = strings.TrimSpace(name); name {
		case "":
		case "*":
			names = append(names, controllerNames()...)
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

type runningControllers struct {
	group sync.WaitGroup
	names []string
}

func (r *runningControllers) wait() { r.group.Wait() }

func (r *runningControllers) has(name string) bool { return slices.Contains(r.names, name) }

func (r *runningControllers) start(ctx context.Context, kubeconfig string, names []string, processes *processes) error {
	cluster, err := newClusterClients(kubeconfig)
	if err != nil {
		return err
	}
	cluster.processes = processes
	r.names = names
	for _, name := range names {
		start, known := controllers[name]
		if !known {
			return fmt.Errorf("no controller %q; known: %s", name, strings.Join(controllerNames(), ", "))
		}
		run, err := start(ctx, cluster)
		if err != nil {
			return fmt.Errorf("controller %s: %w", name, err)
		}
		r.group.Go(run)
	}
	cluster.objects.Start(ctx.Done())
	close(cluster.started)
	return nil
}

func newClusterClients(kubeconfig string) (*clusterClients, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	// Tests make namespaces by the dozen; the default of five requests a
	// second would be what they wait for.
	config.QPS, config.Burst = 200, 400
	objects, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	typed := rest.CopyConfig(config)
	typed.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(typed)
	if err != nil {
		return nil, err
	}
	shared := informers.NewSharedInformerFactory(client, 0)
	return &clusterClients{
		client:   client,
		metadata: objects,
		shared:   shared,
		objects:  informerfactory.NewInformerFactory(shared, metadatainformer.NewSharedInformerFactory(objects, 0)),
		started:  make(chan struct{}),
	}, nil
}

package main

import (
	"context"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// loadBalancer writes an address of its own into the status of every Service of
// type LoadBalancer without a class, as the controller of a cloud would: the one
// in spec.loadBalancerIP if it can be had, which is one of askedBalancerRange
// that no other has, and otherwise none; without that field one of balancerRange.
type loadBalancer struct {
	client   kubernetes.Interface
	services corelisters.ServiceLister
	queue    keys
	// Of the two ranges: whose the hosts are, and the host of each Service.
	chosen, asked *hosts
	held          map[string]balancerAddress
}

type balancerAddress struct {
	host  uint16
	asked bool
}

func newLoadBalancer(ctx context.Context, cluster *clusterClients) (func(), error) {
	services := cluster.shared.Core().V1().Services()
	queue, err := keysOf(services.Informer())
	if err != nil {
		return nil, err
	}
	l := &loadBalancer{
		client: cluster.client, services: services.Lister(), queue: queue,
		chosen: newHosts(), asked: newHosts(), held: map[string]balancerAddress{},
	}
	return func() {
		if cache.WaitForCacheSync(ctx.Done(), services.Informer().HasSynced) && l.resume() == nil {
			reconcile(ctx, "loadbalancer", queue, l.look)
		}
	}, nil
}

// resume takes over what an earlier process gave away.
func (l *loadBalancer) resume() error {
	services, err := l.services.List(labels.Everything())
	for _, service := range services {
		for _, ingress := range service.Status.LoadBalancer.Ingress {
			l.hold(cache.MetaObjectToName(service).String(), ingress.IP)
		}
	}
	return err
}

// hold notes that a Service has an address; false when it cannot have it.
func (l *loadBalancer) hold(key, address string) bool {
	var held balancerAddress
	if host, is := hostOf(balancerRange, address); is && l.chosen.claim(host, key) {
		held = balancerAddress{host: host}
	} else if host, is := hostOf(askedBalancerRange, address); is && l.asked.claim(host, key) {
		held = balancerAddress{host: host, asked: true}
	} else {
		return false
	}
	if before, holds := l.held[key]; holds && before != held {
		l.giveBack(before)
	}
	l.held[key] = held
	return true
}

func (l *loadBalancer) giveBack(held balancerAddress) {
	if held.asked {
		l.asked.giveBack(held.host)
	} else {
		l.chosen.giveBack(held.host)
	}
}

func (l *loadBalancer) look(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	service, err := l.services.Services(namespace).Get(name)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err != nil || service.Spec.Type != v1.ServiceTypeLoadBalancer || service.Spec.LoadBalancerClass != nil {
		// The API server has removed the address of one that has another type now.
		return l.release(key)
	}
	address := l.addressFor(key, service)
	if address == "" && len(service.Status.LoadBalancer.Ingress) == 0 {
		return nil
	}
	if ingress := service.Status.LoadBalancer.Ingress; len(ingress) == 1 && ingress[0].IP == address {
		return nil
	}
	service = service.DeepCopy()
	service.Status.LoadBalancer.Ingress = nil
	if address != "" {
		service.Status.LoadBalancer.Ingress = []v1.LoadBalancerIngress{{IP: address}}
	}
	_, err = l.client.CoreV1().Services(namespace).UpdateStatus(ctx, service, metav1.UpdateOptions{})
	return err
}

// release gives back what a Service holds, and has those looked at again that
// have nothing: they may have waited for it.
func (l *loadBalancer) release(key string) error {
	held, holds := l.held[key]
	if !holds {
		return nil
	}
	delete(l.held, key)
	l.giveBack(held)
	services, err := l.services.List(labels.Everything())
	for _, service := range services {
		if service.Spec.Type == v1.ServiceTypeLoadBalancer && len(service.Status.LoadBalancer.Ingress) == 0 {
			l.queue.Add(cache.MetaObjectToName(service).String())
		}
	}
	return err
}

// addressFor returns the address that a Service has or now gets; none if it
// asks for one that it cannot have.
func (l *loadBalancer) addressFor(key string, service *v1.Service) string {
	if wanted := service.Spec.LoadBalancerIP; wanted != "" {
		if _, is := hostOf(askedBalancerRange, wanted); is && l.hold(key, wanted) {
			return wanted
		}
		return ""
	}
	if held, holds := l.held[key]; holds && !held.asked {
		return hostIn(balancerRange, held.host).String()
	}
	host, is := l.chosen.take(key)
	if !is {
		return ""
	}
	address := hostIn(balancerRange, host).String()
	l.hold(key, address)
	return address
}

package main

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// keys are the objects, as namespace/name, that a controller of ours has to look at.
type keys = workqueue.TypedRateLimitingInterface[string]

// keysOf returns a queue of the objects of an informer that change.
func keysOf(informer cache.SharedIndexInformer) (keys, error) {
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())
	add := func(object any) {
		// Also of what an informer only learnt to be gone.
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
			queue.Add(key)
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    add,
		UpdateFunc: func(_, object any) { add(object) },
		DeleteFunc: add,
	})
	return queue, err
}

// reconcile calls look for one key after the other until the context ends, and
// again later for one that failed. Nothing runs beside it, so what look changes
// needs no lock.
func reconcile(ctx context.Context, name string, queue keys, look func(ctx context.Context, key string) error) {
	stop := context.AfterFunc(ctx, queue.ShutDown)
	defer stop()
	for {
		key, ended := queue.Get()
		if ended {
			return
		}
		err := look(ctx, key)
		switch {
		case err == nil:
			queue.Forget(key)
		case ctx.Err() != nil:
		default:
			// Somebody else was quicker: the informer will tell.
			if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
				klog.FromContext(ctx).Error(err, "Failed, will be tried again", "controller", name, "object", key)
			}
			queue.AddRateLimited(key)
		}
		queue.Done(key)
	}
}

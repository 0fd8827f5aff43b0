"""A real single-node Kubernetes for tests: `make cluster-up`, `make cluster-down`, or `python -m tests.cluster help`.

etcd, API server, controller manager, scheduler, kubelet and kube-proxy are built from their Go modules; containerd,
runc and the CNI plugins are the distribution's. Everything runs in network, mount and process namespaces of its own
whose first process is `tests.cluster.node`: when that process dies, the kernel ends every other one and drops every
mount, so nothing has to be taken apart, and a crash leaves as little behind as an orderly stop.

The admission plugins are the default ones of this release, Pod Security among them; RBAC, the garbage collector, the
TTL controller and all others are on. What a real cluster has and this one lacks:

* DNS. Services are reached by the addresses in a pod's environment, the machine at 10.89.0.1. Every pod has an event
  `MissingClusterDNS` for it.
* NetworkPolicy. The objects are accepted; nothing enforces them but within `firewall.enforced_policies`.
* A registry. Images are imported from files: `imagePullPolicy: Never` (or IfNotPresent), see `images.py`.
* A way out. Pods reach one another, services and this machine, and no other network.
* A second node, a load balancer, a storage provisioner, a metrics server, and GPUs: `nvidia.com/gpu: 2` in the node's
  status is a figure that the scheduler counts with, and no device.
* A memory of its own. Every start is a first start: nothing outlives `cluster-down`.
"""

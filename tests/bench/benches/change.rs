//! One change in a standing mesh of 10,000 pods: facts to delta.

#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use mesh::Options;
use model::Event;
use pilothouse_bench::{Size, pod, policy};
use plane::Plane;
use std::hint::black_box;

fn change(c: &mut Criterion) {
    let size = Size { pods: 10_000, all_kinds: true };
    let mut mesh = Plane::new(&Options::default());
    mesh.apply(size.listing());
    let mut n = 0;
    c.bench_function("pod readiness at 10,000 pods", |b| {
        b.iter(|| {
            n += 1;
            black_box(mesh.apply([Event::Put(pod(n % size.pods, n / size.pods % 2 == 1))]))
        });
    });
    c.bench_function("policy rules at 10,000 pods", |b| {
        b.iter(|| {
            n += 1;
            black_box(mesh.apply([Event::Put(policy(n % size.namespaces(), &n.to_string()))]))
        });
    });
}

criterion_group!(benches, change);
criterion_main!(benches);

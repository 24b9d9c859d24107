//! Gradients that go from GPU to GPU; needs a build with `--features nccl` and as many NVIDIA GPUs as one
//! has, two of them to show more than that one agrees with itself.
#![cfg(feature = "nccl")]

use std::net::TcpListener;

use candle_core::{Device, Tensor};
use m3w_model::train::{Collective, Nccl, Star};
use m3w_model::{Compute, DeviceName, Precision};

/// GPUs of this machine, as many as can be opened one after another.
fn gpus() -> Vec<Compute> {
    let opened =
        (0..).map_while(|number| Compute::new(DeviceName::Cuda(number), Precision::F32).ok());
    opened.collect()
}

#[test]
fn each_gpu_holds_the_sums_of_all() {
    let gpus = gpus();
    assert!(!gpus.is_empty(), "there is no GPU here");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let (size, numbers) = (gpus.len(), 1000);
    std::thread::scope(|scope| {
        for (rank, compute) in gpus.iter().enumerate() {
            let address = &address;
            scope.spawn(move || {
                let star = Star::connect(rank, size, address, [3; 32]).unwrap();
                let mut group = Nccl::join(star, compute).unwrap();
                let own: Vec<f32> = (0..numbers).map(|n| (n * (rank + 1)) as f32).collect();
                let own = Tensor::from_vec(own, numbers, &Device::Cpu).unwrap();
                let own = own.to_device(compute.device()).unwrap();
                // A part of a tensor: what lies beside it must stay as it is.
                let part = own.narrow(0, 100, 500).unwrap();
                let sum = group.sum_tensor(part).unwrap().to_vec1::<f32>().unwrap();
                let ranks: usize = (1..=size).sum();
                let expected: Vec<f32> = (100..600).map(|n| (n * ranks) as f32).collect();
                assert_eq!(sum, expected);
                let beside = own.narrow(0, 600, 400).unwrap().to_vec1::<f32>().unwrap();
                let expected: Vec<f32> = (600..1000).map(|n| (n * (rank + 1)) as f32).collect();
                assert_eq!(beside, expected);
                let mut few = [rank as f32, 1.0];
                group.sum(&mut few).unwrap();
                assert_eq!(few, [(ranks - size) as f32, size as f32]);
            });
        }
    });
}

#[test]
fn a_model_on_the_cpu_has_no_part_in_it() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let star = Star::connect(0, 1, &address, [3; 32]).unwrap();
    let refused = Nccl::join(star, &Compute::default())
        .unwrap_err()
        .to_string();
    assert!(refused.contains("no NVIDIA GPU"), "{refused}");
}

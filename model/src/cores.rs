//! Few cores, and two pools of threads that want them.

/// Cores up to which layers are better off without candle's threads. Measured on two: a training step
/// takes 3 % less time and processor time alone on the machine, and a tenth less of the latter beside other
/// work.
const FEW_CORES: usize = 4;

/// The variable by which candle is told; what is set is left as it is.
const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";

/// On a machine of few cores, lets candle's operations run on the thread that calls them. Call it first
/// thing in a program that computes with models.
///
/// Beside the pool that layers run in, candle has one for sums and the like, whose threads go on asking for
/// work for a while after each of them, and whose caller asks for their answer without pause: on few
/// cores, both in the way of the layers' threads.
///
/// # Safety
///
/// It writes to the environment: no other thread may read it at the same time. Before a program starts its
/// first thread, none does.
pub unsafe fn leave_cores_to_layers() {
    let cores = std::thread::available_parallelism();
    let are_few = cores.is_ok_and(|cores| cores.get() <= FEW_CORES);
    if are_few && std::env::var_os(CANDLE_THREADS).is_none() {
        // SAFETY: the caller's promise.
        unsafe { std::env::set_var(CANDLE_THREADS, "1") };
    }
}

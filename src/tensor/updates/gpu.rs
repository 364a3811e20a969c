//! Updates of all variables in one launch, in place; f32 only. Formulas: `train/optimiser/update.rs` and `mod.rs`.

use candle_core::{CudaDevice, DType, Error, Result, Storage, Tensor, cuda_backend::WrapErr};
use cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr};

use crate::tensor::gpu::launch::{Module, config, launch, view};

// Must equal the constants in updates.cu.
const THREADS: usize = 256;
const PIECE: usize = 4_096;
const MOST_CONSTANTS: usize = 9;

/// The structure `Variable` of `updates.cu`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Variable {
    p: u64,
    first: u64,
    second: u64,
    g: u64,
    count: i64,
    piece: i32,
    constants: [f32; MOST_CONSTANTS],
}

// SAFETY: plain numbers with the layout of the kernel's structure.
unsafe impl DeviceRepr for Variable {}

/// The arguments of one variable's update.
pub struct Update<'a> {
    /// The variable, updated in place.
    pub p: &'a Tensor,
    /// The optimiser's state of the variable, one or two tensors of its shape; also updated in place.
    pub moments: &'a [Tensor],
    /// Its gradient, or the value that an average follows.
    pub g: Tensor,
    /// Constants in the kernel's order.
    pub constants: Vec<f64>,
}

/// Returns whether these tensors can be updated together: contiguous, f32, on a GPU.
pub fn supports(tensors: &[&Tensor]) -> bool {
    tensors
        .iter()
        .all(|tensor| tensor.device().is_cuda() && tensor.dtype() == DType::F32 && tensor.is_contiguous())
}

/// Runs `update_momentum`, `update_adamw` or `move_averages` on all variables, which are on one device.
pub fn update(kernel: &str, updates: &[Update]) -> Result<()> {
    let Some(first) = updates.first() else { return Ok(()) };
    let module = module(first.p.device().as_cuda_device()?);
    let (table, pieces) = table(&module, updates)?;
    let count = updates.len() as i32;
    // SAFETY: for each variable the table has addresses of tensors of one shape, which live as long as `updates`;
    // every kernel of updates.cu processes `pieces` pieces of this table and count.
    unsafe { launch!(module, kernel, config([pieces, 1, 1], THREADS, 0), &table, &count) };
    Ok(())
}

/// Returns sums of g g, p p and g p for each pair (p, g), in f64. Waits for the device.
pub fn inner_products(pairs: &[(&Tensor, Tensor)]) -> Result<Vec<[f64; 3]>> {
    let Some((first, _)) = pairs.first() else { return Ok(Vec::new()) };
    let module = module(first.device().as_cuda_device()?);
    let updates: Vec<Update> =
        pairs.iter().map(|(p, g)| Update { p, moments: &[], g: g.clone(), constants: Vec::new() }).collect();
    let (table, pieces) = table(&module, &updates)?;
    let (count, pieces_) = (pairs.len() as i32, pieces as i32);
    let (all, variables) =
        (config([pieces, 1, 1], THREADS, 0), config([pairs.len().div_ceil(THREADS), 1, 1], THREADS, 0));
    // SAFETY: for the table see `update`. inner_products writes three sums for each piece, inner_products_together
    // three for each variable.
    let products = unsafe {
        let mut partial = module.alloc::<f64>(3 * pieces)?;
        launch!(module, "inner_products", all, &table, &count, &mut partial);
        let mut products = module.alloc::<f64>(3 * pairs.len())?;
        launch!(
            module,
            "inner_products_together",
            variables,
            &table,
            &count,
            &pieces_,
            &partial,
            &mut products
        );
        products
    };
    let products = module.device.clone_dtoh(&products)?;
    Ok(products.as_chunks::<3>().0.to_vec())
}

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/updates.ptx"));
    Module { name: "skewbench_updates", ptx, device }
}

/// Returns the table of variables that kernels read, and the number of pieces of all variables.
fn table(module: &Module, updates: &[Update]) -> Result<(CudaSlice<Variable>, usize)> {
    let mut pieces = 0;
    let mut variables = Vec::with_capacity(updates.len());
    for Update { p, moments, g, constants } in updates {
        if g.shape() != p.shape() || moments.iter().any(|moment| moment.shape() != p.shape()) {
            return Err(Error::Msg(format!("update: of {:?} along {:?}", p.shape(), g.shape())).bt());
        }
        let mut values = [0.0; MOST_CONSTANTS];
        values.iter_mut().zip(constants).for_each(|(value, &constant)| *value = constant as f32);
        let moment = |place: usize| moments.get(place).map_or(Ok(0), address);
        variables.push(Variable {
            p: address(p)?,
            first: moment(0)?,
            second: moment(1)?,
            g: address(g)?,
            count: p.elem_count() as i64,
            piece: pieces as i32,
            constants: values,
        });
        pieces += p.elem_count().div_ceil(PIECE);
    }
    Ok((module.device.cuda_stream().clone_htod(&variables).w()?, pieces))
}

/// Returns the device address of a contiguous tensor's numbers. Kernels write through it although the tensor is
/// borrowed for reading: the host never sees the numbers, and on the device launches on one stream are executed in
/// order.
fn address(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else {
        return Err(Error::Msg("update: expected tensors on a GPU".to_owned()).bt());
    };
    let numbers = view::<f32>(storage, layout)?;
    let (address, _) = numbers.device_ptr(&storage.device.cuda_stream());
    Ok(address)
}

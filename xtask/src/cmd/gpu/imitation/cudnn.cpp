// cuDNN's convolutions as far as they are called: two-dimensional, channels last, f32 and bf16 with f32 sums. cuRAND's generator
// is there and makes nothing.
#include <cudnn.h>
#include <curand.h>

#include "imitation.h"
#include "numbers.h"

using namespace imitation;

struct cudnnContext {
    CUstream stream;
};
struct cudnnTensorStruct {
    cudnnTensorFormat_t format;
    cudnnDataType_t type;
    int batch, channels, height, width;
};
struct cudnnFilterStruct {
    cudnnTensorFormat_t format;
    cudnnDataType_t type;
    int outputs, inputs, rows, columns;
};
struct cudnnConvolutionStruct {
    int padding[2], stride[2];
    cudnnDataType_t sums;
    cudnnMathType_t math;
};

namespace {

cudaDataType_t type_of(cudnnDataType_t type) {
    if (type == CUDNN_DATA_FLOAT) return CUDA_R_32F;
    if (type == CUDNN_DATA_BFLOAT16) return CUDA_R_16BF;
    fail("numbers of cuDNN's type %d", int(type));
}

std::vector<float> all(const void *numbers, cudnnDataType_t type, std::size_t count) {
    std::vector<float> values(count);
    for (std::size_t n = 0; n < count; n++) values[n] = read(numbers, type_of(type), n);
    return values;
}
void put(const std::vector<float> &values, void *numbers, cudnnDataType_t type) {
    for (std::size_t n = 0; n < values.size(); n++) write(numbers, type_of(type), n, values[n]);
}

struct Sizes {
    cudnnTensorStruct images;
    cudnnFilterStruct weights;
    cudnnConvolutionStruct convolution;
    cudnnTensorStruct output;

    std::size_t of_images() const { return std::size_t(images.batch) * images.height * images.width * images.channels; }
    std::size_t of_weights() const { return std::size_t(weights.outputs) * weights.rows * weights.columns * weights.inputs; }
    std::size_t of_output() const { return std::size_t(output.batch) * output.height * output.width * output.channels; }

    void check() const {
        const auto out = [&](int size, int kernel, int axis) {
            return (size + 2 * convolution.padding[axis] - kernel) / convolution.stride[axis] + 1;
        };
        const auto is_last = [](cudnnTensorFormat_t format) { return format == CUDNN_TENSOR_NHWC; };
        const bool last = is_last(images.format) && is_last(weights.format) && is_last(output.format);
        if (!last || images.type != weights.type || images.type != output.type || convolution.sums != CUDNN_DATA_FLOAT)
            fail("a convolution that is not channels last, of one type, with f32 sums");
        if (images.channels != weights.inputs || output.channels != weights.outputs || output.batch != images.batch ||
            output.height != out(images.height, weights.rows, 0) || output.width != out(images.width, weights.columns, 1))
            fail("a convolution of %d x %d x %d images to %d x %d x %d", images.height, images.width, images.channels,
                 output.height, output.width, output.channels);
    }

    // Calls visit(place of channel 0 in the images, in the weights for output 0, in the output) for each product of pixels.
    template <typename Visit>
    void pixels(Visit visit) const {
        for (int n = 0; n < output.batch; n++)
            for (int y = 0; y < output.height; y++)
                for (int x = 0; x < output.width; x++)
                    for (int r = 0; r < weights.rows; r++)
                        for (int c = 0; c < weights.columns; c++) {
                            const int down = y * convolution.stride[0] - convolution.padding[0] + r;
                            const int across = x * convolution.stride[1] - convolution.padding[1] + c;
                            if (down < 0 || down >= images.height || across < 0 || across >= images.width) continue;
                            visit(((std::size_t(n) * images.height + down) * images.width + across) * images.channels,
                                  (std::size_t(r) * weights.columns + c) * weights.inputs,
                                  ((std::size_t(n) * output.height + y) * output.width + x) * output.channels);
                        }
    }
};

// Scales are f32 for both types.
void plain(const void *alpha, const void *beta) {
    const float one = *(const float *)alpha, zero = *(const float *)beta;
    if (one != 1 || zero != 0) fail("a convolution scaled by %g and %g", one, zero);
}

// An algorithm works in some memory, which it spoils. The first choice is refused for images of three channels, so that the second
// is used, too; with IMITATED_CUDNN_REFUSES in the environment all are.
constexpr std::size_t WORKSPACE = 1000;
cudnnStatus_t asked(const Sizes &sizes, bool first, std::size_t *bytes) {
    sizes.check();
    *bytes = first ? WORKSPACE : 0;
    const bool refused = (first && sizes.images.channels == 3) || std::getenv("IMITATED_CUDNN_REFUSES");
    return refused ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t run(cudnnHandle_t handle, const char *name, const Sizes &sizes, bool first, void *workspace, std::size_t bytes,
                  std::function<void()> work) {
    std::size_t needed;
    const auto status = asked(sizes, first, &needed);
    if (status != CUDNN_STATUS_SUCCESS) return status;
    if (bytes < needed) return CUDNN_STATUS_BAD_PARAM;
    enqueue(handle->stream, name, [=] {
        if (bytes) std::memset(workspace, 0x55, bytes);
        work();
    });
    return CUDNN_STATUS_SUCCESS;
}

}  // namespace

extern "C" {

#define DNN EXPORTED cudnnStatus_t CUDNNWINAPI
#define DONE CUDNN_STATUS_SUCCESS

DNN cudnnCreate(cudnnHandle_t *handle) { return *handle = new cudnnContext{nullptr}, DONE; }
DNN cudnnDestroy(cudnnHandle_t handle) { return delete handle, DONE; }
DNN cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) { return handle->stream = (CUstream)stream, DONE; }
DNN cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t *tensor) { return *tensor = new cudnnTensorStruct{}, DONE; }
DNN cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t tensor) { return delete tensor, DONE; }
DNN cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t tensor, cudnnTensorFormat_t format, cudnnDataType_t type, int n, int c, int h,
                               int w) {
    return *tensor = {format, type, n, c, h, w}, DONE;
}
DNN cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t *filter) { return *filter = new cudnnFilterStruct{}, DONE; }
DNN cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t filter) { return delete filter, DONE; }
DNN cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t filter, cudnnDataType_t type, cudnnTensorFormat_t format, int k, int c, int h,
                               int w) {
    return *filter = {format, type, k, c, h, w}, DONE;
}
DNN cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t *convolution) {
    return *convolution = new cudnnConvolutionStruct{}, DONE;
}
DNN cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t convolution) { return delete convolution, DONE; }
DNN cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t convolution, int pad_h, int pad_w, int u, int v, int dilation_h,
                                    int dilation_w, cudnnConvolutionMode_t mode, cudnnDataType_t sums) {
    if (mode != CUDNN_CROSS_CORRELATION || dilation_h != 1 || dilation_w != 1) fail("a convolution of mode %d", int(mode));
    return *convolution = {{pad_h, pad_w}, {u, v}, sums, CUDNN_DEFAULT_MATH}, DONE;
}
DNN cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t convolution, cudnnMathType_t math) {
    return convolution->math = math, DONE;
}
DNN cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t, cudnnTensorDescriptor_t x, cudnnFilterDescriptor_t w,
                                            cudnnConvolutionDescriptor_t convolution, cudnnTensorDescriptor_t y,
                                            cudnnConvolutionFwdAlgo_t algorithm, std::size_t *bytes) {
    return asked({*x, *w, *convolution, *y}, algorithm == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, bytes);
}
DNN cudnnGetConvolutionBackwardDataWorkspaceSize(cudnnHandle_t, cudnnFilterDescriptor_t w, cudnnTensorDescriptor_t dy,
                                                 cudnnConvolutionDescriptor_t convolution, cudnnTensorDescriptor_t dx,
                                                 cudnnConvolutionBwdDataAlgo_t algorithm, std::size_t *bytes) {
    return asked({*dx, *w, *convolution, *dy}, algorithm == CUDNN_CONVOLUTION_BWD_DATA_ALGO_1, bytes);
}
DNN cudnnGetConvolutionBackwardFilterWorkspaceSize(cudnnHandle_t, cudnnTensorDescriptor_t x, cudnnTensorDescriptor_t dy,
                                                   cudnnConvolutionDescriptor_t convolution, cudnnFilterDescriptor_t dw,
                                                   cudnnConvolutionBwdFilterAlgo_t algorithm, std::size_t *bytes) {
    return asked({*x, *dw, *convolution, *dy}, algorithm == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, bytes);
}
DNN cudnnConvolutionForward(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t x, const void *images,
                            cudnnFilterDescriptor_t w, const void *weights, cudnnConvolutionDescriptor_t convolution,
                            cudnnConvolutionFwdAlgo_t algorithm, void *workspace, std::size_t bytes, const void *beta,
                            cudnnTensorDescriptor_t y, void *output) {
    plain(alpha, beta);
    const Sizes sizes{*x, *w, *convolution, *y};
    const bool first = algorithm == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
    return run(handle, "cudnnConvolutionForward", sizes, first, workspace, bytes, [=] {
        const auto from = all(images, sizes.images.type, sizes.of_images());
        const auto by = all(weights, sizes.weights.type, sizes.of_weights());
        std::vector<float> out(sizes.of_output());
        const int inputs = sizes.weights.inputs, outputs = sizes.weights.outputs;
        const std::size_t each = sizes.of_weights() / outputs;
        sizes.pixels([&](std::size_t image, std::size_t weight, std::size_t place) {
            for (int o = 0; o < outputs; o++) {
                float sum = 0;
                for (int i = 0; i < inputs; i++) sum += from[image + i] * by[o * each + weight + i];
                out[place + o] += sum;
            }
        });
        put(out, output, sizes.output.type);
    });
}
DNN cudnnConvolutionBackwardData(cudnnHandle_t handle, const void *alpha, cudnnFilterDescriptor_t w, const void *weights,
                                 cudnnTensorDescriptor_t dy, const void *slope, cudnnConvolutionDescriptor_t convolution,
                                 cudnnConvolutionBwdDataAlgo_t algorithm, void *workspace, std::size_t bytes, const void *beta,
                                 cudnnTensorDescriptor_t dx, void *by_images) {
    plain(alpha, beta);
    const Sizes sizes{*dx, *w, *convolution, *dy};
    const bool first = algorithm == CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
    return run(handle, "cudnnConvolutionBackwardData", sizes, first, workspace, bytes, [=] {
        const auto by = all(weights, sizes.weights.type, sizes.of_weights());
        const auto from = all(slope, sizes.output.type, sizes.of_output());
        std::vector<float> out(sizes.of_images());
        const int inputs = sizes.weights.inputs, outputs = sizes.weights.outputs;
        const std::size_t each = sizes.of_weights() / outputs;
        sizes.pixels([&](std::size_t image, std::size_t weight, std::size_t place) {
            for (int o = 0; o < outputs; o++)
                for (int i = 0; i < inputs; i++) out[image + i] += from[place + o] * by[o * each + weight + i];
        });
        put(out, by_images, sizes.images.type);
    });
}
DNN cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void *alpha, cudnnTensorDescriptor_t x, const void *images,
                                   cudnnTensorDescriptor_t dy, const void *slope, cudnnConvolutionDescriptor_t convolution,
                                   cudnnConvolutionBwdFilterAlgo_t algorithm, void *workspace, std::size_t bytes, const void *beta,
                                   cudnnFilterDescriptor_t dw, void *by_weights) {
    plain(alpha, beta);
    const Sizes sizes{*x, *dw, *convolution, *dy};
    const bool first = algorithm == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;
    return run(handle, "cudnnConvolutionBackwardFilter", sizes, first, workspace, bytes, [=] {
        const auto of = all(images, sizes.images.type, sizes.of_images());
        const auto from = all(slope, sizes.output.type, sizes.of_output());
        std::vector<float> out(sizes.of_weights());
        const int inputs = sizes.weights.inputs, outputs = sizes.weights.outputs;
        const std::size_t each = sizes.of_weights() / outputs;
        sizes.pixels([&](std::size_t image, std::size_t weight, std::size_t place) {
            for (int o = 0; o < outputs; o++)
                for (int i = 0; i < inputs; i++) out[o * each + weight + i] += from[place + o] * of[image + i];
        });
        put(out, by_weights, sizes.weights.type);
    });
}

#define RANDOM EXPORTED curandStatus_t CURANDAPI
RANDOM curandCreateGenerator(curandGenerator_t *generator, curandRngType_t) {
    return *generator = (curandGenerator_t)1, CURAND_STATUS_SUCCESS;
}
RANDOM curandDestroyGenerator(curandGenerator_t) { return CURAND_STATUS_SUCCESS; }
RANDOM curandSetPseudoRandomGeneratorSeed(curandGenerator_t, unsigned long long) { return CURAND_STATUS_SUCCESS; }
RANDOM curandSetStream(curandGenerator_t, cudaStream_t) { return CURAND_STATUS_SUCCESS; }

}  // extern "C"

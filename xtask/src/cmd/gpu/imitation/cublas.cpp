// cuBLAS and cuBLASLt as far as they are called: products of f32 and bf16 with f32 sums, column by column as theirs.
#include <cublasLt.h>
#include <cublas_v2.h>

#include "imitation.h"
#include "numbers.h"

using namespace imitation;

struct cublasContext {
    CUstream stream;
};

namespace {

struct Matrix {
    const void *numbers;
    cudaDataType_t type;
    long long leading, stride;
    bool transposed;

    float at(long long batch, long long row, long long column) const {
        return read(numbers, type, batch * stride + (transposed ? column + row * leading : row + column * leading));
    }
};

struct Product {
    long long m, n, k, batch;
    float alpha, beta;
    Matrix a, b;
    void *c;
    cudaDataType_t type;
    long long leading, stride;
    const void *bias;

    void run() const {
        std::vector<float> left(m * k), right(k * n);
        for (long long batch = 0; batch < this->batch; batch++) {
            for (long long i = 0; i < m; i++)
                for (long long l = 0; l < k; l++) left[i * k + l] = a.at(batch, i, l);
            for (long long j = 0; j < n; j++)
                for (long long l = 0; l < k; l++) right[j * k + l] = b.at(batch, l, j);
            for (long long j = 0; j < n; j++)
                for (long long i = 0; i < m; i++) {
                    float sum = 0;
                    for (long long l = 0; l < k; l++) sum += left[i * k + l] * right[j * k + l];
                    const long long place = batch * stride + j * leading + i;
                    float value = alpha * sum;
                    if (beta != 0) value += beta * read(c, type, place);
                    if (bias) value += read(bias, type, i);
                    write(c, type, place, value);
                }
        }
    }
};

void check(const Product &product) {
    const auto fits = [](const Matrix &matrix, long long rows, long long columns) {
        return matrix.leading >= (matrix.transposed ? columns : rows);
    };
    if (product.m < 1 || product.n < 1 || product.k < 1 || !fits(product.a, product.m, product.k) ||
        !fits(product.b, product.k, product.n) || product.leading < product.m)
        fail("a product of %lld x %lld x %lld with leading sizes %lld, %lld, %lld", product.m, product.n, product.k,
             product.a.leading, product.b.leading, product.leading);
}


// Descriptors of cuBLASLt keep what they are told.
struct Described {
    cublasOperation_t transa = CUBLAS_OP_N, transb = CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const void *bias = nullptr;
};
struct Layout {
    cudaDataType type;
    unsigned long long rows, columns;
    long long leading;
    int batch = 1;
    long long stride = 0;
};
template <typename T>
cublasStatus_t set(T &place, const void *value, std::size_t bytes) {
    if (bytes != sizeof(T)) fail("an attribute of %zu bytes instead of %zu", bytes, sizeof(T));
    std::memcpy(&place, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}
}  // namespace

extern "C" {

#define BLAS EXPORTED cublasStatus_t CUBLASWINAPI

BLAS cublasCreate_v2(cublasHandle_t *handle) { return *handle = new cublasContext{nullptr}, CUBLAS_STATUS_SUCCESS; }
BLAS cublasDestroy_v2(cublasHandle_t handle) { return delete handle, CUBLAS_STATUS_SUCCESS; }
BLAS cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
    handle->stream = (CUstream)stream;
    return CUBLAS_STATUS_SUCCESS;
}
BLAS cublasDgemmStridedBatched(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const double *, const double *,
                               int, long long, const double *, int, long long, const double *, double *, int, long long, int) {
    fail("products of f64 are not made here");
}
BLAS cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n, int k,
                                const void *alpha, const void *a, cudaDataType type_a, int lda, long long stride_a, const void *b,
                                cudaDataType type_b, int ldb, long long stride_b, const void *beta, void *c, cudaDataType type_c,
                                int ldc, long long stride_c, int batch, cublasComputeType_t compute, cublasGemmAlgo_t) {
    if (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_FAST_TF32 && compute != CUBLAS_COMPUTE_32F_FAST_16BF)
        fail("a product with sums of type %d", int(compute));
    const Product product{m, n, k, batch, *(const float *)alpha, *(const float *)beta,
                          {a, type_a, lda, stride_a, transa != CUBLAS_OP_N}, {b, type_b, ldb, stride_b, transb != CUBLAS_OP_N},
                          c, type_c, ldc, stride_c, nullptr};
    check(product);
    enqueue(handle->stream, "cublasGemm", [=] { product.run(); });
    return CUBLAS_STATUS_SUCCESS;
}
BLAS cublasGemmEx(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n, int k, const void *alpha,
                  const void *a, cudaDataType type_a, int lda, const void *b, cudaDataType type_b, int ldb, const void *beta, void *c,
                  cudaDataType type_c, int ldc, cublasComputeType_t compute, cublasGemmAlgo_t algorithm) {
    return cublasGemmStridedBatchedEx(handle, transa, transb, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb, 0, beta, c, type_c,
                                      ldc, 0, 1, compute, algorithm);
}


#define LIGHT EXPORTED cublasStatus_t CUBLASWINAPI

LIGHT cublasLtCreate(cublasLtHandle_t *handle) { return *handle = (cublasLtHandle_t)1, CUBLAS_STATUS_SUCCESS; }
LIGHT cublasLtDestroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }
LIGHT cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *description, cublasComputeType_t compute, cudaDataType_t scale) {
    if (scale != CUDA_R_32F) fail("scales of type %d", int(scale));
    (void)compute;
    *description = (cublasLtMatmulDesc_t) new Described;
    return CUBLAS_STATUS_SUCCESS;
}
LIGHT cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) { return delete (Described *)description, CUBLAS_STATUS_SUCCESS; }
LIGHT cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute, const void *value,
                                     std::size_t bytes) {
    auto &described = *(Described *)description;
    switch (attribute) {
        case CUBLASLT_MATMUL_DESC_TRANSA: return set(described.transa, value, bytes);
        case CUBLASLT_MATMUL_DESC_TRANSB: return set(described.transb, value, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE: return set(described.epilogue, value, bytes);
        case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(described.bias, value, bytes);
        case CUBLASLT_MATMUL_DESC_TRANSC: return CUBLAS_STATUS_SUCCESS;
        default: fail("attribute %d of a product", int(attribute));
    }
}
LIGHT cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type, std::uint64_t rows, std::uint64_t columns,
                                 std::int64_t leading) {
    *layout = (cublasLtMatrixLayout_t) new Layout{type, rows, columns, leading};
    return CUBLAS_STATUS_SUCCESS;
}
LIGHT cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) { return delete (Layout *)layout, CUBLAS_STATUS_SUCCESS; }
LIGHT cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute, const void *value,
                                       std::size_t bytes) {
    auto &described = *(Layout *)layout;
    switch (attribute) {
        case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return set(described.batch, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return set(described.stride, value, bytes);
        default: fail("attribute %d of a matrix", int(attribute));
    }
}
LIGHT cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
    return *preference = (cublasLtMatmulPreference_t)1, CUBLAS_STATUS_SUCCESS;
}
LIGHT cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t) { return CUBLAS_STATUS_SUCCESS; }
LIGHT cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t, const void *,
                                           std::size_t) {
    return CUBLAS_STATUS_SUCCESS;
}
LIGHT cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t,
                                     cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int wanted,
                                     cublasLtMatmulHeuristicResult_t *results, int *found) {
    // Tensor cores want rows of whole sixteen bytes; others are refused now and then, here always.
    const auto &layout = *(const Layout *)a;
    *found = wanted > 0 && (layout.type != CUDA_R_16BF || layout.leading % 8 == 0);
    if (*found) std::memset(results, 0, sizeof *results);
    return *found ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}
LIGHT cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, const void *alpha, const void *a,
                     cublasLtMatrixLayout_t layout_a, const void *b, cublasLtMatrixLayout_t layout_b, const void *beta, const void *,
                     cublasLtMatrixLayout_t, void *d, cublasLtMatrixLayout_t layout_d, const cublasLtMatmulAlgo_t *, void *,
                     std::size_t, cudaStream_t stream) {
    const auto &described = *(const Described *)description;
    const auto &left = *(const Layout *)layout_a, &right = *(const Layout *)layout_b, &out = *(const Layout *)layout_d;
    const bool turned_left = described.transa != CUBLAS_OP_N, turned_right = described.transb != CUBLAS_OP_N;
    if (described.epilogue != CUBLASLT_EPILOGUE_DEFAULT && described.epilogue != CUBLASLT_EPILOGUE_BIAS)
        fail("epilogue %d of a product", int(described.epilogue));
    const auto deep = turned_left ? left.rows : left.columns, deep_right = turned_right ? right.columns : right.rows;
    if (deep != deep_right || out.rows != (turned_left ? left.columns : left.rows) ||
        out.columns != (turned_right ? right.rows : right.columns))
        fail("a product of matrices that do not fit: %llu and %llu deep", deep, deep_right);
    const Product product{(long long)out.rows, (long long)out.columns, (long long)deep, out.batch,
                          *(const float *)alpha, *(const float *)beta,
                          {a, left.type, left.leading, left.stride, turned_left},
                          {b, right.type, right.leading, right.stride, turned_right},
                          d, out.type, out.leading, out.stride,
                          described.epilogue == CUBLASLT_EPILOGUE_BIAS ? described.bias : nullptr};
    check(product);
    enqueue((CUstream)stream, "cublasLtMatmul", [=] { product.run(); });
    return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"

#include "train/recompute.h"

namespace nosa::train {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

using Body = std::function<at::Tensor(const at::Tensor&)>;

// What a context may keep beside tensors: LibTorch knows how to hold a counted object of its own.
struct HeldBody : torch::CustomClassHolder {
  explicit HeldBody(Body body) : f(std::move(body)) {}
  Body f;
};

class RecomputeFunction : public torch::autograd::Function<RecomputeFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& x, c10::intrusive_ptr<HeldBody> body) {
    context->save_for_backward({x});
    context->saved_data["body"] = c10::IValue::make_capsule(body);
    return body->f(x);  // LibTorch calls this without recording
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto held = c10::static_intrusive_pointer_cast<HeldBody>(context->saved_data["body"].toCapsule());
    const at::Tensor x = context->get_saved_variables()[0].detach();
    x.set_requires_grad(true);
    at::Tensor y;
    {
      const at::AutoGradMode record(true);
      y = held->f(x);
    }
    torch::autograd::backward({y}, {grads[0]});
    return {x.grad(), {}};
  }
};

}  // namespace

at::Tensor Recompute(Body f, const at::Tensor& x) {
  if (!at::GradMode::is_enabled()) return f(x);
  return RecomputeFunction::apply(x, c10::make_intrusive<HeldBody>(std::move(f)));
}

}  // namespace nosa::train

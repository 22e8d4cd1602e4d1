"""Networks: one file each. All of them are `Backbone`s except the small 32 x 32 one."""
